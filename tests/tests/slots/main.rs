//! Moving keys between servers: what sources, targets and those who watch them see on the wire.
//!
//! * `whole.rs`: the synchronous commands. `chunked.rs`: the asynchronous ones.
//! * `target.rs`: what a target takes and refuses. `source.rs`: what a source sends, byte for byte, and takes for an answer.
//! * `chaos.rs`: links that break, and servers that die, at random moments. `deaths.rs`: all of that while clients write.
//! * `closing.rs`: what becomes of keys on their way when their server is told to end.
//! * `dialogues.rs`: what original servers said to each other, with ours in place of the one or the other.
//! * `elders.rs`: what is left of an original's old links when a new one comes.
//! * `extensions.rs`: what only servers of ours say to each other, and what operators may ask for besides.
//! * `effects.rs`: what commands leave in logs, files, counters and with who watches. `rows.rs`: defaults, limits, refusals, ends of links.
//! * `giants.rs`: tags of very many keys. `groups.rs`: groups of keys that clients change while they are gathered.
//! * `inside.rs`: what sources say, within transactions and scripts.
//! * `gates.rs`: what stands before every command: arity, password, memory, replicas, role. `answers.rs`: synchronous links, what
//!   they take for an answer, and what is counted and told besides.
//! * `durable.rs`: answers that wait for disk and replicas.
//! * `rests.rs`: what is left of links that were given up.
//! * `roles.rs`: sources that become replicas while keys are on their way.
//! * `selves.rs`: servers that send keys to themselves, or to each other.
//! * `streams.rs`: what replicas and files get of keys that an original was sent in pieces.
//! * `steps.rs`: big values that a target takes in steps. `noise.rs`: bytes that no server sends.
//! * `data.rs`: keys of all types, and how to compare them; a target made of a script.

#![forbid(unsafe_code)]

mod answers;
mod chaos;
mod chunked;
mod closing;
mod data;
mod deaths;
mod debts;
mod dialogues;
mod durable;
mod effects;
mod elders;
mod extensions;
mod gates;
mod giants;
mod groups;
mod inside;
mod noise;
mod rests;
mod roles;
mod rows;
mod selves;
mod source;
mod steps;
mod streams;
mod target;
mod whole;
