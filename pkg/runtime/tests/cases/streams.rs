// SPDX-License-Identifier: Apache-2.0

//! exec, attach, terminals.

use knarr_runtime::{ContainerConfig, Error, ExecConfig, PodRuntime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::case;
use crate::support::{Case, Host, output};

pub const CASES: &[Case] = &[
    case!(exec_gives_both_outputs_and_the_code),
    case!(exec_reads_its_input_to_the_end),
    case!(exec_on_a_terminal_has_its_size_and_resizes),
    case!(exec_of_what_is_not_there_says_so),
    case!(attach_joins_input_and_output),
    case!(attach_to_a_terminal_talks_to_it),
    case!(an_exec_whose_client_left_is_killed),
    case!(much_output_is_all_in_the_log),
];

const IDLE: &str = "while true; do sleep 1000; done";

fn exec(args: &[&str]) -> ExecConfig {
    ExecConfig { args: args.iter().map(|a| (*a).to_owned()).collect(), ..ExecConfig::default() }
}

async fn exec_gives_both_outputs_and_the_code(host: Host) {
    let mut config = host.shell(IDLE);
    config.env = vec!["GREETING=hello".to_owned()];
    let id = host.pod("p1", config).await;
    let got = host.exec(&id, "echo $GREETING; echo wrong >&2; exit 9").await;
    assert_eq!(got, ("hello\n".to_owned(), "wrong\n".to_owned(), 9));
}

async fn exec_reads_its_input_to_the_end(host: Host) {
    let id = host.pod("p1", host.shell(IDLE)).await;
    let config = ExecConfig { stdin: true, ..exec(&["cat"]) };
    let mut session = host.runtime.exec(&id, &config).await.unwrap();
    let data = "x".repeat(300_000);
    let (mut stdin, to_write) = (session.stdin.take().unwrap(), data.clone());
    let writer = async move { stdin.write_all(to_write.as_bytes()).await.unwrap() };
    let (_, (out, _, code)) = tokio::join!(writer, output(&mut session));
    assert_eq!((out.len(), code), (data.len(), 0));
}

async fn exec_on_a_terminal_has_its_size_and_resizes(host: Host) {
    let id = host.pod("p1", host.shell(IDLE)).await;
    let config = ExecConfig {
        tty: true,
        stdin: true,
        size: Some((100, 30)),
        ..exec(&["sh", "-c", "stty size; read x; stty size; exit 4"])
    };
    let mut session = host.runtime.exec(&id, &config).await.unwrap();
    let mut seen = String::new();
    let mut stdout = session.stdout.take().unwrap();
    let mut chunk = [0; 256];
    while !seen.contains("30 100") {
        let n = stdout.read(&mut chunk).await.unwrap();
        seen.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
    }
    session.resize(90, 20).unwrap();
    session.stdin.as_mut().unwrap().write_all(b"\n").await.unwrap();
    stdout.read_to_string(&mut seen).await.unwrap();
    assert!(seen.contains("20 90"), "{seen}");
    assert_eq!(session.wait().await.unwrap().code, 4);
}

async fn exec_of_what_is_not_there_says_so(host: Host) {
    let id = host.pod("p1", host.shell(IDLE)).await;
    match host.runtime.exec(&id, &exec(&["nothere"])).await {
        Err(Error::CannotExecute(message)) => {
            assert_eq!(message, "exec: \"nothere\": executable file not found in $PATH");
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it runs"),
    }
}

async fn attach_joins_input_and_output(host: Host) {
    let config = ContainerConfig {
        stdin: true,
        stdin_once: true,
        ..host.shell("while read line; do echo got $line; done; echo end; exit 5")
    };
    let id = host.pod("p1", config).await;
    let mut session = host.runtime.attach(&id, true).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"one\ntwo\n").await.unwrap();
    let mut stdout = session.stdout.take().unwrap();
    let mut seen = [0; 16];
    stdout.read_exact(&mut seen).await.unwrap();
    assert_eq!(&seen, b"got one\ngot two\n");
    let mut events = host.runtime.events();
    // Its only input ends with this one.
    drop(stdin);
    let exit = crate::support::exit_event(&mut events, &id).await;
    assert_eq!(exit.code, 5);
    assert_eq!(host.log(&id), ["stdout F got one", "stdout F got two", "stdout F end"]);
}

async fn attach_to_a_terminal_talks_to_it(host: Host) {
    let config = ContainerConfig { stdin: true, tty: true, ..host.shell("read line; echo got $line; exit 6") };
    let id = host.pod("p1", config).await;
    let mut session = host.runtime.attach(&id, true).await.unwrap();
    session.stdin.as_mut().unwrap().write_all(b"hi\n").await.unwrap();
    let (out, _, code) = output(&mut session).await;
    assert!(out.contains("got hi"), "{out:?}");
    assert_eq!(code, 6);
}

async fn an_exec_whose_client_left_is_killed(host: Host) {
    let id = host.pod("p1", host.shell(IDLE)).await;
    let session = host.runtime.exec(&id, &exec(&["sleep", "98765"])).await.unwrap();
    let count = "ps | grep -c '[s]leep 98765'";
    assert_eq!(host.exec(&id, count).await.0, "1\n");
    drop(session);
    while host.exec(&id, count).await.0 != "0\n" {}
}

async fn much_output_is_all_in_the_log(host: Host) {
    let config = host.shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done");
    let (exit, log) = host.complete("p1", config).await;
    assert_eq!((exit.code, log.len()), (0, 20_000));
    assert_eq!(log[19_999], "stdout F line 19999");
}
