//! A host for tests: a map of strings and lists, and a record of what scripts asked for.

use std::collections::BTreeMap;

use lua::{Host, Options, Outcome, Replication, ScriptError, Sha, Tick, Vm};
use resp::Out;

#[derive(Clone)]
enum Value {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
}

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

#[derive(Default)]
pub struct Map {
    values: BTreeMap<Vec<u8>, Value>,
    pub logged: Vec<(u8, Vec<u8>)>,
    pub replicates_commands: bool,
    pub replication: Option<Replication>,
    pub wrote: bool,
    pub ticks: u32,
    /// Kill at this tick.
    pub kill_at: Option<u32>,
    pub calls: u32,
}

impl Host for Map {
    fn call(&mut self, args: &[&[u8]], reply: &mut Out) -> Outcome {
        self.calls += 1;
        let name = String::from_utf8_lossy(args[0]).to_lowercase();
        let refused = |reply: &mut Out, text: &str| {
            reply.extend_raw(text.as_bytes());
            Outcome::Refused
        };
        match (name.as_str(), &args[1..]) {
            ("ping", []) => reply.simple("PONG"),
            ("raw", [bytes]) => reply.extend_raw(bytes),
            ("args", args) => {
                reply.array(args.len());
                args.iter().for_each(|arg| reply.bulk(arg));
            }
            ("get", [key]) => match self.values.get(*key) {
                None => reply.null_bulk(),
                Some(Value::Text(text)) => reply.bulk(text),
                Some(Value::List(_)) => reply.error(WRONG_TYPE),
            },
            ("set", [key, value]) => {
                self.wrote = true;
                self.values.insert(key.to_vec(), Value::Text(value.to_vec()));
                reply.ok();
            }
            ("incr" | "decr", [key]) => {
                self.wrote = true;
                let old = match self.values.get(*key) {
                    None => Some(0),
                    Some(Value::Text(text)) => resp::parse_i64(text),
                    Some(Value::List(_)) => None,
                };
                match old {
                    None => reply.error("ERR value is not an integer or out of range"),
                    Some(old) => {
                        let new = if name == "incr" { old + 1 } else { old - 1 };
                        self.values.insert(key.to_vec(), Value::Text(new.to_string().into_bytes()));
                        reply.int(new);
                    }
                }
            }
            ("rpush", [key, elements @ ..]) if !elements.is_empty() => {
                self.wrote = true;
                match self.values.entry(key.to_vec()).or_insert(Value::List(Vec::new())) {
                    Value::Text(_) => reply.error(WRONG_TYPE),
                    Value::List(list) => {
                        list.extend(elements.iter().map(|element| element.to_vec()));
                        reply.int(list.len() as i64);
                    }
                }
            }
            ("lrange", [key, _, _]) => match self.values.get(*key) {
                Some(Value::List(list)) => {
                    reply.array(list.len());
                    list.iter().for_each(|element| reply.bulk(element));
                }
                _ => reply.array(0),
            },
            ("blpop", _) => return refused(reply, "This Redis command is not allowed from scripts"),
            ("panic", _) => panic!("the host panics"),
            ("ping" | "get" | "set" | "rpush", _) => {
                return refused(reply, "Wrong number of args calling Redis command From Lua script");
            }
            _ => return refused(reply, "Unknown Redis command called from Lua script"),
        }
        Outcome::Replied
    }

    fn log(&mut self, level: u8, message: &[u8]) {
        self.logged.push((level, message.to_vec()));
    }

    fn replicates_commands(&self) -> bool {
        self.replicates_commands
    }

    fn replicate_commands(&mut self) -> Option<i32> {
        (!self.wrote).then(|| {
            self.replicates_commands = true;
            12_345
        })
    }

    fn set_replication(&mut self, to: Replication) {
        self.replication = Some(to);
    }

    fn tick(&mut self) -> Tick {
        self.ticks += 1;
        if self.kill_at.is_some_and(|at| self.ticks >= at) { Tick::Kill } else { Tick::Continue }
    }
}

/// An engine and its host.
pub struct Bench {
    pub vm: Vm,
    pub map: Map,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(Options::default())
    }

    pub fn with(options: Options) -> Bench {
        Bench { vm: Vm::new(options), map: Map::default() }
    }

    /// EVAL: the reply, or the error as a reply.
    pub fn eval(&mut self, script: &str, keys: &[&str], argv: &[&str]) -> Vec<u8> {
        self.eval_bytes(script.as_bytes(), keys, argv)
    }

    pub fn eval_bytes(&mut self, script: &[u8], keys: &[&str], argv: &[&str]) -> Vec<u8> {
        let mut out = Out::new();
        if let Err(error) = self.try_eval(script, keys, argv, &mut out) {
            error.write_reply(&mut out);
        }
        out.into_vec()
    }

    pub fn try_eval(&mut self, script: &[u8], keys: &[&str], argv: &[&str], out: &mut Out) -> Result<(), ScriptError> {
        let sha = Sha::of(script);
        let script = self.vm.compile(&sha, script)?;
        let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
        let argv: Vec<&[u8]> = argv.iter().map(|arg| arg.as_bytes()).collect();
        self.vm.run(&script, &keys, &argv, &mut self.map, out)
    }

    /// EVAL without keys and arguments, as text.
    pub fn show(&mut self, script: &str) -> String {
        self.eval(script, &[], &[]).escape_ascii().to_string()
    }

    /// The message of a script that must fail: what stands behind "(call to f_<sha>): ".
    pub fn error(&mut self, script: &str) -> String {
        let reply = self.show(script);
        let start = reply.find("): ").unwrap_or_else(|| panic!("no error: {reply:.200}")) + 3;
        assert!(reply.starts_with("-ERR Error running script (call to f_"), "{reply:.200}");
        reply[start..].trim_end_matches("\\r\\n").trim_end().replace("\\'", "'").replace("\\\"", "\"")
    }
}

/// The reply of `script` in an engine of its own.
#[track_caller]
pub fn check(script: &str, expected: &str) {
    assert_eq!(Bench::new().show(script), expected, "{script}");
}

/// The error of `script` in an engine of its own.
#[track_caller]
pub fn check_error(script: &str, expected: &str) {
    assert_eq!(Bench::new().error(script), expected, "{script}");
}
