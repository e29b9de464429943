// SPDX-License-Identifier: Apache-2.0

//! What every store does, whatever it is kept on: each rule runs in memory and on the local disk.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use knarr_store::*;
use knarr_types::{Key, Revision};
use object_store::memory::InMemory;

/// Where a rule is tried; opening again finds what was there.
struct Place {
    options: Options,
    _dir: Option<tempfile::TempDir>,
}

impl Place {
    async fn open(&self) -> Store {
        Store::open(self.options.clone()).await.unwrap()
    }
}

fn on_both<F: Future<Output = ()>>(rule: impl Fn(Place) -> F) {
    on_both_with(|_| {}, rule);
}

fn on_both_with<F: Future<Output = ()>>(set: impl Fn(&mut Limits), rule: impl Fn(Place) -> F) {
    let dir = tempfile::tempdir().unwrap();
    let memory = options(&(Arc::new(InMemory::new()) as _), &KeyRing::generate());
    let disk = Options { resources: resources(), ..Options::directory(dir.path()) };
    for (mut options, dir) in [(memory, None), (disk, Some(dir))] {
        set(&mut options.limits);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(rule(Place { options, _dir: dir }));
    }
}

async fn next(watcher: &mut Watcher) -> Vec<Arc<Commit>> {
    match tokio::time::timeout(Duration::from_secs(20), watcher.next()).await.expect("an event is due") {
        WatchEvent::Commits(commits) => commits,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_written_is_read_with_its_revision() {
    on_both(|place| async move {
        let store = place.open().await;
        let created = create(&store, &pod("a"), "one").await.unwrap();
        let got = store.get(&pod("a")).unwrap();
        assert_eq!(got, created.record);
        assert_eq!(got.json, json("a", "one", created.revision));
        let changed = put(&store, &pod("a"), "two").await.unwrap();
        assert!(changed.revision > created.revision);
        let deleted = delete(&store, &pod("a")).await.unwrap();
        assert_eq!(deleted.record.json, json("a", "two", deleted.revision));
        assert!(store.get(&pod("a")).is_none());
        store.close().await;
    });
}

#[test]
fn preconditions_are_held_against() {
    on_both(|place| async move {
        let store = place.open().await;
        let a = create(&store, &pod("a"), "one").await.unwrap();
        assert!(matches!(create(&store, &pod("a"), "two").await, Err(ProposeError::AlreadyExists(_))));
        assert!(matches!(delete(&store, &pod("b")).await, Err(ProposeError::NotFound(_))));
        let change = || vec![Change::Put(pod("a"), draft("a", "x"))];
        let stale = vec![Precondition::At(pod("a"), Revision(1))];
        assert!(matches!(propose(&store, stale, change()).await, Err(ProposeError::Conflict(_))));
        let missing = vec![Precondition::Present(pod("b"))];
        assert!(matches!(propose(&store, missing, change()).await, Err(ProposeError::NotFound(_))));
        let exact = vec![Precondition::At(pod("a"), a.revision)];
        let a = propose(&store, exact, change()).await.unwrap();
        let unchanged = |since, namespace: Option<&str>| {
            vec![Precondition::Unchanged { resource: pods(), namespace: namespace.map(Into::into), since }]
        };
        let before = Revision(a[0].revision.0 - 1);
        assert!(matches!(propose(&store, unchanged(before, None), change()).await, Err(ProposeError::Changed(..))));
        propose(&store, unchanged(before, Some("other")), change()).await.unwrap();
        let now = store.snapshot(&pods()).revision();
        propose(&store, unchanged(now, Some("default")), change()).await.unwrap();
        store.close().await;
    });
}

#[test]
fn a_proposal_is_all_or_nothing() {
    on_both(|place| async move {
        let store = place.open().await;
        create(&store, &pod("b"), "old").await.unwrap();
        let changes = || vec![Change::Put(pod("a"), draft("a", "1")), Change::Put(pod("b"), draft("b", "1"))];
        let refused = propose(&store, vec![Precondition::Absent(pod("b"))], changes()).await;
        assert!(matches!(refused, Err(ProposeError::AlreadyExists(_))));
        assert!(store.get(&pod("a")).is_none());
        let applied = propose(&store, vec![], changes()).await.unwrap();
        assert_eq!(applied[1].revision, applied[0].revision.next());
        assert_eq!(text(&store.get(&pod("b")).unwrap()), "1");
        store.close().await;
    });
}

#[test]
fn what_cannot_be_right_is_refused() {
    on_both(|place| async move {
        let store = place.open().await;
        let put = |key: &Key| Change::Put(key.clone(), draft("a", "x"));
        let event = Key::new(events(), "default", "e");
        let bad_place = Draft { revision_at: 1000, ..draft("a", "x") };
        for changes in [
            vec![],
            vec![put(&pod("a")), put(&pod("a"))],
            vec![put(&pod("a/b"))],
            vec![put(&pod(""))],
            vec![put(&pod("a")), put(&event)],
            vec![Change::Put(pod("a"), bad_place)],
        ] {
            assert!(matches!(propose(&store, vec![], changes).await, Err(ProposeError::Invalid(_))));
        }
        store.close().await;
    });
}

#[test]
fn lists_are_ordered_scoped_and_begin_where_they_are_told() {
    on_both(|place| async move {
        let store = place.open().await;
        let objects = [("b", "x", "n1"), ("a", "z", "n2"), ("a", "y", "n1"), ("c", "w", "n1"), ("a-b", "v", "n2")];
        for (namespace, name, node) in objects {
            let key = Key::new(pods(), namespace, name);
            propose(&store, vec![], vec![Change::Put(key, draft_on(name, "t", node))]).await.unwrap();
        }
        let snapshot = store.snapshot(&pods());
        let names = |scope: &Scope, from| {
            let all = snapshot.list(scope, from);
            all.map(|record| format!("{}/{}", record.key.namespace, record.key.name)).collect::<Vec<_>>()
        };
        assert_eq!(names(&Scope::All, None), ["a-b/v", "a/y", "a/z", "b/x", "c/w"], "as texts with the slash");
        assert_eq!(names(&Scope::All, Some(("a-b", "v\0"))), ["a/y", "a/z", "b/x", "c/w"]);
        assert_eq!(names(&Scope::All, Some(("a", "z\0"))), ["b/x", "c/w"]);
        assert_eq!(names(&Scope::All, Some(("a", "z"))), ["a/z", "b/x", "c/w"]);
        assert_eq!(names(&Scope::Namespace("a".into()), None), ["a/y", "a/z"]);
        assert_eq!(names(&Scope::Namespace("a-b".into()), None), ["a-b/v"]);
        assert_eq!(names(&Scope::Namespace("a".into()), Some(("a", "y\0"))), ["a/z"]);
        let index = Scope::Index { field: "spec.nodeName".into(), value: "n1".into() };
        assert_eq!(names(&index, None), ["a/y", "b/x", "c/w"]);
        assert_eq!(names(&index, Some(("a", "y\0"))), ["b/x", "c/w"]);
        let one = Scope::Object { namespace: "b".into(), name: "x".into() };
        assert_eq!(names(&one, None), ["b/x"]);
        assert_eq!(names(&one, Some(("b", "x"))), ["b/x"]);
        assert!(names(&one, Some(("b", "x\0"))).is_empty());
        let moved = Change::Put(Key::new(pods(), "b", "x"), draft_on("x", "t", "n2"));
        propose(&store, vec![], vec![moved]).await.unwrap();
        assert_eq!(names(&index, None), ["a/y", "b/x", "c/w"], "a snapshot never changes");
        let now = store.snapshot(&pods());
        assert_eq!(now.list(&index, None).count(), 2);
        let others = Scope::Index { field: "spec.nodeName".into(), value: "n2".into() };
        assert_eq!(names(&others, Some(("a-b", "v"))), ["a-b/v", "a/z"]);
        store.close().await;
    });
}

#[test]
fn the_past_is_read_exactly_or_not_at_all() {
    on_both_with(
        |limits| limits.ring_bytes = 20_000,
        |place| async move {
            let store = place.open().await;
            let mut states = vec![];
            for number in 0..10 {
                let key = pod(if number % 2 == 0 { "a" } else { "b" });
                if number == 7 {
                    delete(&store, &key).await.unwrap()
                } else {
                    put(&store, &key, &number.to_string()).await.unwrap()
                };
                let snapshot = store.snapshot(&pods());
                states.push((snapshot.revision(), snapshot.list(&Scope::All, None).cloned().collect::<Vec<_>>()));
            }
            for (revision, state) in &states {
                let then = store.snapshot_at(&pods(), *revision).unwrap();
                assert_eq!(then.revision(), *revision);
                assert_eq!(then.list(&Scope::All, None).cloned().collect::<Vec<_>>(), *state);
            }
            let future = Revision(states[9].0.0 + 1000);
            assert!(matches!(store.snapshot_at(&pods(), future), Err(ReadError::TooLarge { .. })));
            for number in 0..100 {
                put(&store, &pod("c"), &number.to_string()).await.unwrap();
            }
            assert!(matches!(store.snapshot_at(&pods(), states[0].0), Err(ReadError::Compacted { .. })));
            assert!(store.stats().ring_bytes <= 20_000);
            store.close().await;
        },
    );
}

#[test]
fn a_read_not_older_than_the_future_waits_for_it() {
    on_both(|place| async move {
        let store = place.open().await;
        let revision = create(&store, &pod("a"), "x").await.unwrap().revision;
        let reached = store.not_older_than(&pods(), revision, Duration::ZERO).await.unwrap();
        assert!(reached.revision() >= revision);
        let (pods, b) = (pods(), pod("b"));
        let later = store.not_older_than(&pods, revision.next(), Duration::from_secs(20));
        let (snapshot, _) = tokio::join!(later, put(&store, &b, "y"));
        assert_eq!(snapshot.unwrap().len(), 2);
        let never = store.not_older_than(&pods, Revision(u64::MAX), Duration::from_millis(1)).await;
        assert!(matches!(never, Err(ReadError::TooLarge { .. })));
        store.close().await;
    });
}

#[test]
fn a_watch_gives_every_commit_of_its_scope_once_and_in_order() {
    on_both(|place| async move {
        let store = place.open().await;
        let from = store.revision(&pods());
        let mut all = store.watch(&pods(), from, Scope::All);
        let mut node = store.watch(&pods(), from, Scope::Index { field: "spec.nodeName".into(), value: "n1".into() });
        let mut other = store.watch(&pods(), from, Scope::Namespace("other".into()));
        let put_on = |text: &'static str, node: &'static str| {
            propose(&store, vec![], vec![Change::Put(pod("a"), draft_on("a", text, node))])
        };
        put_on("1", "").await.unwrap();
        put_on("2", "n1").await.unwrap();
        put_on("3", "n2").await.unwrap();
        let deleted = delete(&store, &pod("a")).await.unwrap();
        let mut seen = vec![];
        while seen.len() < 4 {
            seen.extend(next(&mut all).await);
        }
        assert!(seen.is_sorted_by(|a, b| a.revision < b.revision));
        assert_eq!(seen[3].deleted.as_ref().unwrap().json, json("a", "3", deleted.revision));
        assert_eq!(seen[3].before.as_ref().unwrap().json, seen[2].after.as_ref().unwrap().json);
        let mut on_node = vec![];
        while on_node.len() < 2 {
            on_node.extend(next(&mut node).await);
        }
        assert_eq!(
            on_node.iter().map(|commit| commit.revision).collect::<Vec<_>>(),
            [seen[1].revision, seen[2].revision]
        );
        assert_eq!(all.bookmark(), Some(deleted.revision));
        assert_eq!(other.bookmark(), Some(deleted.revision));
        let frame = seen[0].frame(1, || "first".into());
        assert_eq!(frame, seen[0].frame(1, || panic!("frames are encoded once")));
        store.close().await;
        assert!(matches!(all.next().await, WatchEvent::Closed));
    });
}

#[test]
fn a_watch_that_falls_behind_is_ended_but_an_idle_one_is_not() {
    on_both_with(
        |limits| limits.ring_bytes = 20_000,
        |place| async move {
            let store = place.open().await;
            let from = create(&store, &pod("a"), "0").await.unwrap().revision;
            let mut slow = store.watch(&pods(), from, Scope::All);
            let idle_scope = Scope::Object { namespace: "default".into(), name: "idle".into() };
            let mut idle = store.watch(&pods(), from, idle_scope);
            for number in 0..200 {
                put(&store, &pod("a"), &number.to_string()).await.unwrap();
            }
            assert!(matches!(slow.next().await, WatchEvent::Expired));
            create(&store, &pod("idle"), "now").await.unwrap();
            assert_eq!(next(&mut idle).await.len(), 1);
            store.close().await;
        },
    );
}

#[test]
fn state_history_and_watches_survive_a_restart() {
    on_both(|place| async move {
        let store = place.open().await;
        let created = create(&store, &pod("a"), "0").await.unwrap().revision;
        let mut last = created;
        for number in 1..70 {
            last = put(&store, &pod("a"), &number.to_string()).await.unwrap().revision;
        }
        let gone = create(&store, &pod("gone"), "x").await.unwrap().revision;
        delete(&store, &pod("gone")).await.unwrap();
        let before = store.revision(&pods());
        store.close().await;
        let store = place.open().await;
        assert!(store.revision(&pods()) > before, "revisions never go back");
        assert_eq!(store.get(&pod("a")).unwrap().json, json("a", "69", last));
        let mut watcher = store.watch(&pods(), created, Scope::All);
        let mut commits = vec![];
        while commits.len() < 71 {
            commits.extend(next(&mut watcher).await);
        }
        assert_eq!(commits[0].before.as_ref().unwrap().json, json("a", "0", created));
        assert!(commits[70].deleted.is_some());
        let then = store.snapshot_at(&pods(), gone).unwrap();
        assert_eq!(text(then.get("default", "gone").unwrap()), "x");
        let history = store.history(&pod("a")).await.unwrap();
        assert_eq!((history.len(), history[69].revision), (70, created));
        assert_eq!(history[0].parents, [history[1].revision]);
        assert_eq!(&*history[0].author.user, "tester");
        for commit in [&history[69], &history[40], &history[3]] {
            let then = store.object_at(&pod("a"), commit.revision).await.unwrap().unwrap();
            assert_eq!(then.revision, commit.revision);
        }
        assert_eq!(text(&store.object_at(&pod("gone"), gone).await.unwrap().unwrap()), "x");
        assert!(store.object_at(&pod("gone"), created).await.unwrap().is_none());
        assert!(create(&store, &pod("b"), "x").await.unwrap().revision > before);
        store.close().await;
    });
}

#[test]
fn heartbeats_live_in_memory_and_events_survive_a_clean_restart() {
    on_both(|place| async move {
        let store = place.open().await;
        let beat = Key::new(leases(), "kube-node-lease", "n1");
        let lead = Key::new(leases(), "kube-system", "scheduler");
        let event = Key::new(events(), "default", "e");
        for key in [&beat, &lead, &event] {
            create(&store, key, "x").await.unwrap();
            assert!(store.get(key).is_some());
        }
        let old = store.revision(&leases());
        store.close().await;
        let store = place.open().await;
        assert!(store.get(&beat).is_none());
        assert!(store.get(&lead).is_some());
        assert!(store.get(&event).is_some());
        let mut watcher = store.watch(&leases(), old, Scope::All);
        assert!(matches!(watcher.next().await, WatchEvent::Expired), "what was in memory only is unknown");
        store.close().await;
    });
}

#[test]
fn volatile_objects_expire_and_their_watchers_hear_of_it() {
    let soon = |place: &mut Place| place.options.resources[2].expire_after = Some(Duration::from_millis(30));
    on_both(|mut place| async move {
        soon(&mut place);
        let store = place.open().await;
        let event = Key::new(events(), "default", "e");
        let mut watcher = store.watch(&events(), store.revision(&events()), Scope::All);
        create(&store, &event, "x").await.unwrap();
        let mut commits = next(&mut watcher).await;
        while commits.len() < 2 {
            commits.extend(next(&mut watcher).await);
        }
        assert!(commits[1].deleted.is_some() && store.get(&event).is_none());
        store.close().await;
        let store = place.open().await;
        assert!(store.get(&event).is_none());
        store.close().await;
    });
}

#[test]
fn concurrent_updates_of_one_object_all_count() {
    on_both(|place| async move {
        let store = place.open().await;
        let writers = (0..16).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    let count = |record: Option<&Arc<Record>>| {
                        let count: u32 = record.map_or(0, |record| text(record).parse().unwrap());
                        Ok::<_, ()>(Decision::Put(draft("a", &(count + 1).to_string())))
                    };
                    store.update(&pod("a"), &context(), count).await.unwrap();
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        assert_eq!(text(&store.get(&pod("a")).unwrap()), "160");
        store.close().await;
    });
}

#[test]
fn an_update_may_keep_refuse_delete_and_write_others() {
    on_both(|place| async move {
        let store = place.open().await;
        let kept = store.update(&pod("a"), &context(), |_| Ok::<_, ()>(Decision::Keep)).await.unwrap();
        assert!(kept.is_none());
        let refused = store.update(&pod("a"), &context(), |_| Err("no")).await;
        assert!(matches!(refused, Err(UpdateError::Refused("no"))));
        let both = |_: Option<&Arc<Record>>| {
            let changes = vec![Change::Put(pod("b"), draft("b", "too"))];
            let preconditions = vec![Precondition::Absent(pod("b"))];
            Ok::<_, ()>(Decision::With { draft: Some(draft("a", "x")), preconditions, changes })
        };
        store.update(&pod("a"), &context(), both).await.unwrap();
        assert!(store.get(&pod("b")).is_some());
        store.update(&pod("a"), &context(), |_| Ok::<_, ()>(Decision::Delete)).await.unwrap();
        assert!(store.get(&pod("a")).is_none());
        store.close().await;
    });
}

#[test]
fn a_commit_names_what_it_was_computed_from() {
    on_both(|place| async move {
        let store = place.open().await;
        let older = create(&store, &pod("a"), "1").await.unwrap().revision;
        let own = put(&store, &pod("a"), "2").await.unwrap().revision;
        let change = Change::Put(pod("a"), draft("a", "1 and 2"));
        let both = Proposal { based_on: Some(older), ..Proposal::single(None, change, context()) };
        store.propose(both).await.unwrap();
        let history = store.history(&pod("a")).await.unwrap();
        let parents: Vec<_> = history.iter().map(|commit| commit.parents.as_slice()).collect();
        assert_eq!(parents, [&[own, older][..], &[older], &[]]);
        store.close().await;
    });
}

#[test]
fn a_resource_registered_later_gets_its_index() {
    on_both(|mut place| async move {
        place.options.resources.clear();
        let store = place.open().await;
        let change = Change::Put(pod("a"), draft_on("a", "t", "n1"));
        propose(&store, vec![], vec![change]).await.unwrap();
        store.register(resources().remove(0)).await;
        let snapshot = store.snapshot(&pods());
        assert!(snapshot.is_indexed("spec.nodeName"));
        let index = Scope::Index { field: "spec.nodeName".into(), value: "n1".into() };
        assert_eq!(snapshot.list(&index, None).count(), 1);
        store.close().await;
    });
}

#[test]
fn old_history_is_pruned_and_the_rest_still_reads() {
    on_both_with(
        |limits| {
            limits.history_bytes = 3000;
            limits.prune_every = Duration::from_millis(20);
        },
        |place| async move {
            let store = place.open().await;
            let created = create(&store, &pod("a"), "0").await.unwrap().revision;
            for number in 1..100 {
                put(&store, &pod("a"), &number.to_string()).await.unwrap();
            }
            store.close().await; // writes how much history there is
            let store = place.open().await;
            while store.history(&pod("a")).await.unwrap().last().unwrap().revision <= created {
                put(&store, &pod("b"), "x").await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // Pruning goes on meanwhile: what was the oldest may just have gone.
            loop {
                let oldest = store.history(&pod("a")).await.unwrap().last().unwrap().revision;
                match store.object_at(&pod("a"), oldest).await {
                    Err(ReadError::Compacted { .. }) => continue,
                    found => break assert!(found.unwrap().is_some()),
                }
            }
            assert!(matches!(store.object_at(&pod("a"), created).await, Err(ReadError::Compacted { .. })));
            store.close().await;
            place.open().await.close().await;
        },
    );
}

#[test]
fn a_write_whose_time_is_up_is_not_applied() {
    on_both(|place| async move {
        let store = place.open().await;
        let late = WriteContext { deadline: Instant::now(), ..context() };
        let change = Change::Put(pod("a"), draft("a", "x"));
        let result = store.propose(Proposal::single(None, change, late)).await;
        assert!(matches!(result, Err(ProposeError::Timeout)));
        assert!(store.get(&pod("a")).is_none());
        store.close().await;
        assert!(matches!(create(&store, &pod("a"), "x").await, Err(ProposeError::Closed)));
    });
}

#[test]
fn a_directory_has_one_server_and_one_cluster() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Options::directory(dir.path())).await.unwrap();
        let second = Store::open(Options::directory(dir.path())).await.err().unwrap();
        assert!(second.to_string().contains("in use by another server"), "{second}");
        store.close().await;
        std::fs::remove_file(dir.path().join("keyring.json")).unwrap();
        let other = Store::open(Options::directory(dir.path())).await.err().unwrap();
        assert!(matches!(other, OpenError::OtherCluster { .. }), "{other}");
        let again = Store::open(Options::directory(dir.path())).await.err().unwrap();
        assert!(matches!(again, OpenError::OtherCluster { .. }), "a refused store is let go: {again}");
    });
}

#[test]
fn nothing_secret_lies_on_the_disk_in_clear() {
    fn walk(path: &std::path::Path, needle: &[u8]) {
        for entry in std::fs::read_dir(path).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                walk(&entry.path(), needle);
            } else {
                let bytes = std::fs::read(entry.path()).unwrap();
                assert!(!bytes.windows(needle.len()).any(|window| window == needle), "{:?}", entry.path());
            }
        }
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Options { resources: resources(), ..Options::directory(dir.path()) }).await.unwrap();
        create(&store, &pod("a"), "hunter2hunter2").await.unwrap();
        put(&store, &pod("a"), "hunter2hunter3").await.unwrap();
        delete(&store, &pod("a")).await.unwrap();
        create(&store, &Key::new(events(), "default", "e"), "hunter2hunter2").await.unwrap();
        store.close().await;
        walk(dir.path(), b"hunter2");
    });
}
