// SPDX-License-Identifier: Apache-2.0

//! What the host's resolvers said, for as long as it holds, at most half a minute.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

/// Entries kept; a full cache drops what has run out, then whatever comes first.
const CAPACITY: usize = 4096;

/// The longest that anything is kept, whatever its TTL.
const LONGEST: Duration = Duration::from_secs(30);

/// A question, with the flags that change its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    name: Name,
    kind: RecordType,
    dnssec: bool,
    checking_disabled: bool,
}

impl Question {
    pub(super) fn of(message: &Message) -> Option<Self> {
        let [query] = message.queries.as_slice() else { return None };
        Some(Self {
            name: query.name().to_lowercase(),
            kind: query.query_type(),
            dnssec: message.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok),
            checking_disabled: message.metadata.checking_disabled,
        })
    }
}

struct Entry {
    message: Message,
    stored: Instant,
    until: Instant,
}

#[derive(Default)]
pub(super) struct Cache {
    entries: HashMap<Question, Entry>,
}

impl Cache {
    /// The stored reply with its TTLs run down.
    pub(super) fn get(&mut self, question: &Question, now: Instant) -> Option<Message> {
        let entry = self.entries.get(question)?;
        if entry.until <= now {
            self.entries.remove(question);
            return None;
        }
        let age = u32::try_from(now.duration_since(entry.stored).as_secs()).unwrap_or(u32::MAX);
        let mut message = entry.message.clone();
        let Message { answers, authorities, additionals, .. } = &mut message;
        for record in answers.iter_mut().chain(authorities).chain(additionals) {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(message)
    }

    pub(super) fn put(&mut self, question: Question, message: &Message, now: Instant) {
        let Some(life) = lifetime(message) else { return };
        if self.entries.len() >= CAPACITY {
            self.entries.retain(|_, entry| entry.until > now);
            let surplus: Vec<Question> = if self.entries.len() < CAPACITY {
                Vec::new()
            } else {
                self.entries.keys().take(CAPACITY / 8).cloned().collect()
            };
            for question in surplus {
                self.entries.remove(&question);
            }
        }
        self.entries.insert(question, Entry { message: message.clone(), stored: now, until: now + life });
    }
}

/// How long a reply may be kept: the least TTL of its answers; without answers what its SOA says
/// (RFC 2308). None: not at all.
fn lifetime(message: &Message) -> Option<Duration> {
    if message.metadata.truncation {
        return None;
    }
    let seconds = match message.metadata.response_code {
        ResponseCode::NoError if !message.answers.is_empty() => {
            message.answers.iter().map(|record| record.ttl).min()?
        }
        ResponseCode::NoError | ResponseCode::NXDomain => {
            message.authorities.iter().find_map(|record| match &record.data {
                RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
                _ => None,
            })?
        }
        _ => return None,
    };
    (seconds > 0).then(|| Duration::from_secs(seconds.into()).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{MessageType, OpCode, Query};
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, SOA};

    fn reply(code: ResponseCode) -> Message {
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        message.metadata.response_code = code;
        message.add_query(Query::query(Name::from_ascii("Example.org.").unwrap(), RecordType::A));
        message
    }

    #[test]
    fn answers_age_and_end() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let mut message = reply(ResponseCode::NoError);
        message.add_answer(Record::from_rdata(
            Name::from_ascii("example.org.").unwrap(),
            20,
            RData::A(A::new(192, 0, 2, 1)),
        ));
        let question = Question::of(&message).unwrap();
        cache.put(question.clone(), &message, now);
        assert_eq!(cache.get(&question, now + Duration::from_secs(5)).unwrap().answers[0].ttl, 15);
        assert!(cache.get(&question, now + Duration::from_secs(20)).is_none());
    }

    #[test]
    fn absence_is_kept_as_long_as_its_soa_says_and_failures_not_at_all() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let mut missing = reply(ResponseCode::NXDomain);
        let question = Question::of(&missing).unwrap();
        cache.put(question.clone(), &missing, now);
        assert!(cache.get(&question, now).is_none(), "without an SOA it is not kept");
        let soa = SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, 9);
        missing.add_authority(Record::from_rdata(Name::root(), 3600, RData::SOA(soa)));
        cache.put(question.clone(), &missing, now);
        assert!(cache.get(&question, now + Duration::from_secs(8)).is_some());
        assert!(cache.get(&question, now + Duration::from_secs(9)).is_none());
        cache.put(question.clone(), &reply(ResponseCode::ServFail), now);
        assert!(cache.get(&question, now + Duration::from_secs(9)).is_none());
    }
}
