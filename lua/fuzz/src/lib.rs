//! What the targets share: an engine that is made once, and a host that ends scripts soon.

use std::cell::RefCell;

use lua::{Host, Options, Outcome, Replication, ScriptError, Sha, Tick, Vm};
use resp::Out;

/// Replies with its arguments, and ends a script at the third turn (300,000 instructions).
#[derive(Default)]
struct Echo {
    turns: u32,
}

impl Host for Echo {
    fn call(&mut self, args: &[&[u8]], reply: &mut Out) -> Outcome {
        reply.array(args.len());
        args.iter().for_each(|arg| reply.bulk(arg));
        Outcome::Replied
    }

    fn log(&mut self, _: u8, _: &[u8]) {}

    fn replicates_commands(&self) -> bool {
        false
    }

    fn replicate_commands(&mut self) -> Option<i32> {
        None
    }

    fn set_replication(&mut self, _: Replication) {}

    fn tick(&mut self) -> Tick {
        self.turns += 1;
        if self.turns < 3 { Tick::Continue } else { Tick::Kill }
    }
}

/// Runs `script` with `argv`. Every thousandth run, and where `fresh`, in a new engine.
pub fn eval(script: &[u8], argv: &[&[u8]], fresh: bool) -> Result<Vec<u8>, ScriptError> {
    thread_local!(static ENGINE: RefCell<(u32, Option<Vm>)> = const { RefCell::new((0, None)) });
    ENGINE.with_borrow_mut(|(runs, engine)| {
        *runs += 1;
        if fresh || *runs % 1000 == 0 {
            *engine = None;
        }
        let options = Options { memory_bytes_max: 64 << 20, reply_bytes_max: 1 << 20 };
        let vm = engine.get_or_insert_with(|| Vm::new(options));
        let sha = Sha::of(script);
        let script = vm.compile(&sha, script)?;
        let mut out = Out::new();
        vm.run(&script, &[], argv, &mut Echo::default(), &mut out)?;
        Ok(out.into_vec())
    })
}

/// Like [`eval`], for a script that must not fail: an `assert` in it is one of the target.
pub fn hold(script: &str, argv: &[&[u8]]) {
    if let Err(error) = eval(script.as_bytes(), argv, false) {
        panic!("{error}");
    }
}
