//! The table `redis` of scripts, and the two functions of `math` that Redis replaces.

use resp::Out;

use crate::ffi::{Kind, Raise, Stack, native};
use crate::host::{Outcome, Replication};
use crate::number::{format_g, truncate_i32};
use crate::prng::Prng;
use crate::reply;
use crate::sha::Sha;

const REPL_AOF: i32 = 1;
const REPL_SLAVE: i32 = 2;

const CONSTANTS: [(&[u8], i32); 8] = [
    (b"LOG_DEBUG", 0),
    (b"LOG_VERBOSE", 1),
    (b"LOG_NOTICE", 2),
    (b"LOG_WARNING", 3),
    (b"REPL_NONE", 0),
    (b"REPL_AOF", REPL_AOF),
    (b"REPL_SLAVE", REPL_SLAVE),
    (b"REPL_ALL", REPL_AOF | REPL_SLAVE),
];

/// Defines the global `redis`, and `math.random` and `math.randomseed`.
pub(crate) fn open(stack: &mut Stack<'_>) -> Result<(), Raise> {
    stack.push_table(0, 20)?;
    let table = stack.top();
    for (name, function) in [
        (&b"call"[..], native(|stack| call(stack, true))),
        (b"pcall", native(|stack| call(stack, false))),
        (b"log", native(log)),
        (b"sha1hex", native(sha1hex)),
        (b"error_reply", native(|stack| one_field_table(stack, b"err"))),
        (b"status_reply", native(|stack| one_field_table(stack, b"ok"))),
        (b"replicate_commands", native(replicate_commands)),
        (b"set_repl", native(set_repl)),
        (b"breakpoint", native(breakpoint)),
        (b"debug", native(|_| Ok(0))),
    ] {
        stack.push_function(function)?;
        stack.set_field(table, name)?;
    }
    for (name, value) in CONSTANTS {
        stack.push_number(f64::from(value))?;
        stack.set_field(table, name)?;
    }
    stack.set_global(b"redis")?;

    stack.push_global(b"math")?;
    let math = stack.top();
    for (name, function) in [(&b"random"[..], native(random)), (b"randomseed", native(randomseed))] {
        stack.push_function(function)?;
        stack.set_field(math, name)?;
    }
    stack.pop(1);
    Ok(())
}

/// redis.call and redis.pcall: the former raises errors, the latter returns them.
fn call(stack: &mut Stack<'_>, raise: bool) -> Result<u32, Raise> {
    // A coroutine around the one that was killed runs on until its own hook.
    stack.check_alive()?;
    let shared = stack.shared();
    let mut numbers = shared.scratch.take();
    let mut answer = shared.reply.take();
    // Whoever had them before may have left something.
    numbers.clear();
    answer.clear();
    let result = call_with(stack, raise, &mut numbers, &mut answer);
    shared.scratch.replace(numbers);
    shared.reply.replace(answer);
    result
}

fn call_with(stack: &mut Stack<'_>, raise: bool, numbers: &mut Vec<u8>, answer: &mut Out) -> Result<u32, Raise> {
    let count = stack.top();
    if count == 0 {
        return refuse(stack, b"Please specify at least one argument for redis.call()", raise);
    }
    // Few arguments, as nearly always, need no allocation.
    let mut few = [&[][..]; 12];
    let mut many = Vec::new();
    let args = match few.get_mut(..count as usize) {
        Some(few) => few,
        None => {
            many.resize(count as usize, &[][..]);
            &mut many[..]
        }
    };
    // Strings, as nearly always, are passed where they are.
    let mut all = true;
    for (slot, arg) in (1..).zip(args.iter_mut()) {
        match stack.bytes(slot) {
            Some(text) => *arg = text,
            None => all = false,
        }
    }
    if !all {
        for slot in (1..=count).filter(|&slot| stack.kind(slot) != Kind::String) {
            if stack.kind(slot) != Kind::Number {
                return refuse(stack, b"Lua redis() command arguments must be strings or integers", raise);
            }
            format_g(numbers, stack.number(slot).unwrap_or_default(), 17);
            numbers.push(b' ');
        }
        let mut texts = numbers.split(|&byte| byte == b' ');
        for (slot, arg) in (1..).zip(args.iter_mut()) {
            *arg = stack.bytes(slot).or_else(|| texts.next()).unwrap_or_default();
        }
    }

    let outcome = stack.host(|host| host.call(args, answer));
    match outcome {
        None => refuse(stack, b"redis.call() is not possible here", raise),
        Some(Outcome::Refused) => refuse(stack, answer.as_slice(), raise),
        Some(Outcome::Replied) => {
            stack.cut(0);
            match reply::error_text(answer.as_slice()) {
                Some(text) if raise => {
                    stack.push_bytes(text)?;
                    Err(Raise::Top)
                }
                _ => {
                    reply::push(stack, answer.as_slice())?;
                    Ok(1)
                }
            }
        }
    }
}

/// An error of redis.call itself: `text` with the place of the call in front.
fn refuse(stack: &mut Stack<'_>, text: &[u8], raise: bool) -> Result<u32, Raise> {
    let mut located = Vec::new();
    if let Some(place) = stack.place(1) {
        located = place.source;
        located.extend_from_slice(format!(": {}: ", place.line).as_bytes());
    }
    located.extend_from_slice(text);
    stack.cut(0);
    if raise {
        stack.push_bytes(&located)?;
        return Err(Raise::Top);
    }
    stack.push_table(0, 1)?;
    stack.push_bytes(&located)?;
    stack.set_field(1, b"err")?;
    Ok(1)
}

fn log(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    let count = stack.top();
    if count < 2 {
        return Err(plain(b"redis.log() requires two arguments or more."));
    }
    let Some(level) = stack.number(1) else {
        return Err(plain(b"First argument must be a number (log level)."));
    };
    let level = match truncate_i32(level) {
        level @ 0..=3 => level as u8,
        _ => return Err(plain(b"Invalid debug level.")),
    };
    let mut message = Vec::new();
    for slot in 2..=count {
        if let Some(text) = stack.text(slot) {
            if slot != 2 {
                message.push(b' ');
            }
            message.extend_from_slice(text);
        }
    }
    stack.host(|host| host.log(level, &message));
    Ok(0)
}

fn sha1hex(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    if stack.top() != 1 {
        return Err(plain(b"wrong number of arguments"));
    }
    let sha = Sha::of(stack.text(1).unwrap_or_default());
    stack.push_bytes(sha.as_bytes())?;
    Ok(1)
}

fn one_field_table(stack: &mut Stack<'_>, name: &[u8]) -> Result<u32, Raise> {
    if stack.top() != 1 || stack.kind(1) != Kind::String {
        return refuse(stack, b"wrong number or type of arguments", false);
    }
    stack.push_table(0, 1)?;
    stack.push_copy(1)?;
    stack.set_field(2, name)?;
    Ok(1)
}

fn replicate_commands(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    let seed = stack.host(|host| host.replicate_commands()).flatten();
    if let Some(seed) = seed {
        stack.shared().prng.set(Prng::seeded(seed));
    }
    stack.push_boolean(seed.is_some())?;
    Ok(1)
}

fn set_repl(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    if stack.host(|host| host.replicates_commands()) != Some(true) {
        return Err(plain(
            b"You can set the replication behavior only after turning on single commands replication with \
              redis.replicate_commands().",
        ));
    }
    if stack.top() != 1 {
        return Err(plain(b"redis.set_repl() requires two arguments."));
    }
    let flags = truncate_i32(stack.number(1).unwrap_or_default());
    if flags & !(REPL_AOF | REPL_SLAVE) != 0 {
        return Err(plain(b"Invalid replication flags. Use REPL_AOF, REPL_SLAVE, REPL_ALL or REPL_NONE."));
    }
    let to = Replication { aof: flags & REPL_AOF != 0, replicas: flags & REPL_SLAVE != 0 };
    stack.host(|host| host.set_replication(to));
    Ok(0)
}

fn breakpoint(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    let stops = stack.host(|host| host.breakpoint()) == Some(true);
    stack.push_boolean(stops)?;
    Ok(1)
}

fn random(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    let (next, drawn) = stack.shared().prng.get().next();
    stack.shared().prng.set(next);
    let number = match stack.top() {
        0 => drawn,
        1 => {
            let upper = stack.check_int(1)?;
            if upper < 1 {
                return Err(Raise::argument(1, "interval is empty"));
            }
            (drawn * f64::from(upper)).floor() + 1.0
        }
        2 => {
            let lower = stack.check_int(1)?;
            let upper = stack.check_int(2)?;
            if lower > upper {
                return Err(Raise::argument(2, "interval is empty"));
            }
            // The width is an `int` in the original, and wraps.
            (drawn * f64::from(upper.wrapping_sub(lower).wrapping_add(1))).floor() + f64::from(lower)
        }
        _ => return Err(Raise::Error("wrong number of arguments".into())),
    };
    stack.push_number(number)?;
    Ok(1)
}

fn randomseed(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    let seed = stack.check_int(1)?;
    stack.shared().prng.set(Prng::seeded(seed));
    Ok(0)
}

fn plain(text: &'static [u8]) -> Raise {
    Raise::Plain(text.into())
}
