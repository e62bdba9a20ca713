//! What a row of the table of directives is, and what can be done with any row whatever its kind.

use super::types::Choice;
use super::{Config, numbers, words};

/// What the server has to carry out, beyond using the new value, after a CONFIG SET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: whoever uses the setting reads it from the new `Config`.
    Nothing,
    /// Change to `dir`: call `Config::enter_dir`.
    ChangeDir,
    /// `maxclients` changed: see that so many files can be open.
    MaxClients,
    /// `appendonly` was given (perhaps with the value it had): start or stop the AOF.
    AppendOnly,
    /// `maxmemory` changed: evict if it is exceeded.
    MaxMemory,
    /// `repl_backlog_size` was given: replace the backlog if its size differs.
    BacklogSize,
    /// `min_slaves_*` changed: count the good replicas anew.
    MinSlaves,
    /// `loglevel` changed: tell the logger.
    LogLevel,
    /// `watchdog_period_ms` changed: arm or disarm the watchdog.
    Watchdog,
}

/// Why a value was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The text is for a file; CONFIG SET says that the argument is invalid.
    Invalid(&'static str),
    /// The text is the answer in both.
    Because(&'static str),
}

/// A line for CONFIG REWRITE.
pub(super) struct Line {
    /// The directive and its values, without an end of line.
    pub text: Vec<u8>,
    /// Write it even if the file has no such directive yet.
    pub force: bool,
}

/// One row: a directive.
#[derive(Clone, Copy)]
pub(super) struct Directive {
    /// Lower case.
    pub name: &'static str,
    /// The name that newer versions of Redis use; a file and CONFIG SET may use it as well.
    pub alias: Option<&'static str>,
    pub kind: Kind,
    /// A file and the command line may contain it.
    pub in_file: bool,
    /// CONFIG SET changes it.
    pub settable: bool,
    /// CONFIG GET shows it.
    pub shown: bool,
    /// CONFIG REWRITE writes it.
    pub written: bool,
    pub effect: Effect,
    /// Why it changes nothing here, if that is so.
    pub accepted_only: Option<&'static str>,
    /// What it does, for people.
    pub about: &'static str,
}

/// How a directive's value is spelled, checked and kept.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// `yes` or `no`.
    Flag(Flag),
    /// A whole number in a range.
    Int(Int),
    /// Bytes, with units.
    Memory(Memory),
    /// One word out of a few.
    Choice(ChoiceOf),
    /// One text.
    Text(Text),
    /// Anything else.
    Special(Special),
    /// Acts while the file is read (`load.rs`) and has no value.
    Load(Load),
}

/// Access to a field that is a flag.
#[derive(Clone, Copy)]
pub(super) struct Flag {
    pub get: fn(&Config) -> bool,
    pub set: fn(&mut Config, bool),
}

/// Access to a field that is a number. Setters saturate; `set` is called within the range only.
#[derive(Clone, Copy)]
pub(super) struct Number {
    pub get: fn(&Config) -> i64,
    pub set: fn(&mut Config, i64),
}

#[derive(Clone, Copy)]
pub(super) struct Int {
    field: Number,
    /// Least and greatest value in a file.
    in_file: (i64, i64),
    /// Least and greatest value in CONFIG SET.
    run_time: (i64, i64),
    refusal: &'static str,
    /// A file may use units of memory, as Redis happens to allow.
    units: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Memory {
    field: Number,
    /// Least value in a file.
    min: i64,
    refusal: &'static str,
}

/// Access to a field that is a `Choice`.
#[derive(Clone, Copy)]
pub(super) struct ChoiceField {
    pub get: fn(&Config) -> &'static str,
    /// False if the word means nothing.
    pub set: fn(&mut Config, &[u8]) -> bool,
    pub words: fn() -> String,
}

#[derive(Clone, Copy)]
pub(super) struct ChoiceOf {
    field: ChoiceField,
    refusal: &'static str,
}

#[derive(Clone, Copy)]
pub(super) struct Text {
    /// `None`: the directive is absent.
    pub get: fn(&Config) -> Option<Vec<u8>>,
    pub set: fn(&mut Config, &[u8]) -> Result<(), Refused>,
    pub shape: &'static str,
}

#[derive(Clone, Copy)]
pub(super) struct Special {
    /// Least and greatest number of arguments in a file.
    pub args: (usize, usize),
    pub load: fn(&mut Config, &[Vec<u8>]) -> Result<(), Refused>,
    pub set: fn(&mut Config, &[u8]) -> Result<(), Refused>,
    pub get: fn(&Config) -> Vec<u8>,
    pub lines: fn(&Config) -> Vec<Line>,
    pub shape: &'static str,
}

#[derive(Clone, Copy)]
pub(super) struct Load {
    args: usize,
    shape: &'static str,
}

const NOT_YES_OR_NO: &str = "argument must be 'yes' or 'no'";
const OUT_OF_RANGE: &str = "argument is not a number in the allowed range";
const NOT_MEMORY: &str = "argument must be an amount of memory, such as 512, 64kb or 1gb";
pub(super) const BAD_DIRECTIVE: &str = "Bad directive or wrong number of arguments";

impl Directive {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Directive {
            name,
            alias: None,
            kind,
            in_file: true,
            settable: false,
            shown: true,
            written: true,
            effect: Effect::Nothing,
            accepted_only: None,
            about: "",
        }
    }

    pub const fn flag(name: &'static str, field: Flag) -> Self {
        Self::new(name, Kind::Flag(field))
    }

    /// A number, between `min` and `max` in a file.
    pub const fn int(name: &'static str, field: Number, min: i64, max: i64) -> Self {
        let int = Int { field, in_file: (min, max), run_time: (min, max), refusal: OUT_OF_RANGE, units: false };
        Self::new(name, Kind::Int(int))
    }

    pub const fn memory(name: &'static str, field: Number) -> Self {
        Self::new(name, Kind::Memory(Memory { field, min: 0, refusal: NOT_MEMORY }))
    }

    pub const fn choice(name: &'static str, field: ChoiceField, refusal: &'static str) -> Self {
        Self::new(name, Kind::Choice(ChoiceOf { field, refusal }))
    }

    pub const fn text(name: &'static str, text: Text) -> Self {
        Self::new(name, Kind::Text(text))
    }

    pub const fn special(name: &'static str, special: Special) -> Self {
        Self::new(name, Kind::Special(special))
    }

    /// A directive that only a file knows.
    pub const fn load(name: &'static str, args: usize, shape: &'static str) -> Self {
        Self { shown: false, written: false, ..Self::new(name, Kind::Load(Load { args, shape })) }
    }

    pub const fn alias(self, name: &'static str) -> Self {
        Self { alias: Some(name), ..self }
    }

    /// What a file with a bad value is told.
    pub const fn or(self, text: &'static str) -> Self {
        let kind = match self.kind {
            Kind::Int(int) => Kind::Int(Int { refusal: text, ..int }),
            Kind::Memory(memory) => Kind::Memory(Memory { min: 1, refusal: text, ..memory }),
            other => other,
        };
        Self { kind, ..self }
    }

    /// A file may use units of memory for this number.
    pub const fn units(self) -> Self {
        match self.kind {
            Kind::Int(int) => Self { kind: Kind::Int(Int { units: true, ..int }), ..self },
            _ => self,
        }
    }

    /// CONFIG SET changes it.
    pub const fn set(self) -> Self {
        Self { settable: true, ..self }
    }

    /// CONFIG SET changes this number, within a range of its own.
    pub const fn set_within(self, min: i64, max: i64) -> Self {
        match self.kind {
            Kind::Int(int) => Self { kind: Kind::Int(Int { run_time: (min, max), ..int }), settable: true, ..self },
            _ => self,
        }
    }

    /// CONFIG SET changes it, and the server has to do something then.
    pub const fn set_does(self, effect: Effect) -> Self {
        Self { settable: true, effect, ..self }
    }

    /// CONFIG GET does not show it.
    pub const fn hidden(self) -> Self {
        Self { shown: false, ..self }
    }

    /// CONFIG REWRITE leaves its lines alone.
    pub const fn unwritten(self) -> Self {
        Self { written: false, ..self }
    }

    /// It exists at run time only.
    pub const fn run_time_only(self) -> Self {
        Self { in_file: false, written: false, ..self }
    }

    /// It changes nothing here, for this reason.
    pub const fn ignored(self, why: &'static str) -> Self {
        Self { accepted_only: Some(why), ..self }
    }

    pub const fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    /// Assigns what a line of a file says.
    ///
    /// # Errors
    /// The text that the fatal error shows. Nothing has been assigned then.
    pub fn load_args(&self, config: &mut Config, args: &[Vec<u8>]) -> Result<(), &'static str> {
        let (least, most) = match self.kind {
            Kind::Special(special) => special.args,
            Kind::Load(load) => (load.args, load.args),
            _ => (1, 1),
        };
        if !self.in_file || args.len() < least || args.len() > most {
            return Err(BAD_DIRECTIVE);
        }
        let first = args.first().map_or(&b""[..], Vec::as_slice);
        let outcome = match self.kind {
            Kind::Int(int) => {
                let value = if int.units { numbers::parse_memory(first) } else { numbers::parse(first) };
                int.assign(config, value, int.in_file)
            }
            Kind::Memory(memory) => memory.assign(config, first, memory.min),
            Kind::Special(special) => (special.load)(config, args),
            Kind::Load(_) => Ok(()),
            _ => self.set_value(config, first),
        };
        outcome.map_err(|refused| match refused {
            Refused::Invalid(text) | Refused::Because(text) => text,
        })
    }

    /// Assigns what CONFIG SET gives.
    ///
    /// # Errors
    /// Why the value was refused. Nothing has been assigned then.
    pub fn set_value(&self, config: &mut Config, value: &[u8]) -> Result<(), Refused> {
        match self.kind {
            Kind::Flag(flag) => {
                let value = match value {
                    yes if yes.eq_ignore_ascii_case(b"yes") => true,
                    no if no.eq_ignore_ascii_case(b"no") => false,
                    _ => return Err(Refused::Invalid(NOT_YES_OR_NO)),
                };
                (flag.set)(config, value);
                Ok(())
            }
            Kind::Int(int) => int.assign(config, resp::parse_i64(value), int.run_time),
            Kind::Memory(memory) => memory.assign(config, value, 0),
            Kind::Choice(choice) => {
                if (choice.field.set)(config, value) {
                    Ok(())
                } else {
                    Err(Refused::Invalid(choice.refusal))
                }
            }
            Kind::Text(text) => (text.set)(config, value),
            Kind::Special(special) => (special.set)(config, value),
            Kind::Load(_) => Err(Refused::Invalid(BAD_DIRECTIVE)),
        }
    }

    /// The value as CONFIG GET prints it.
    pub fn value(&self, config: &Config) -> Vec<u8> {
        match self.kind {
            Kind::Flag(flag) => yes_or_no((flag.get)(config)).into(),
            Kind::Int(Int { field, .. }) | Kind::Memory(Memory { field, .. }) => {
                (field.get)(config).to_string().into_bytes()
            }
            Kind::Choice(choice) => (choice.field.get)(config).into(),
            Kind::Text(text) => (text.get)(config).unwrap_or_default(),
            Kind::Special(special) => (special.get)(config),
            Kind::Load(_) => Vec::new(),
        }
    }

    /// The lines that say it in a file, to be forced if they differ from `default`.
    pub fn lines(&self, config: &Config, default: &Config) -> Vec<Line> {
        let value = match self.kind {
            Kind::Special(special) => return (special.lines)(config),
            Kind::Load(_) => return Vec::new(),
            Kind::Text(text) => match (text.get)(config) {
                Some(value) => words::quote(&value),
                None => return Vec::new(),
            },
            Kind::Memory(memory) => {
                numbers::format_memory(u64::try_from((memory.field.get)(config)).unwrap_or(0)).into_bytes()
            }
            _ => self.value(config),
        };
        let text = [self.name.as_bytes(), b" ", &value].concat();
        vec![Line { text, force: self.value(config) != self.value(default) }]
    }

    /// The shape of its arguments, for people.
    pub fn shape(&self) -> String {
        match self.kind {
            Kind::Flag(_) => "yes, no".into(),
            Kind::Int(Int { in_file: (min, max), .. }) => match (min, max) {
                (i64::MIN, i64::MAX) => "a number".into(),
                (min, i64::MAX) => format!("a number from {min}"),
                (min, max) => format!("a number from {min} to {max}"),
            },
            Kind::Memory(_) => "bytes, with units".into(),
            Kind::Choice(choice) => (choice.field.words)(),
            Kind::Text(text) => text.shape.into(),
            Kind::Special(special) => special.shape.into(),
            Kind::Load(load) => load.shape.into(),
        }
    }
}

impl Int {
    fn assign(&self, config: &mut Config, value: Option<i64>, (min, max): (i64, i64)) -> Result<(), Refused> {
        let value = value.filter(|value| (min..=max).contains(value)).ok_or(Refused::Invalid(self.refusal))?;
        (self.field.set)(config, value);
        Ok(())
    }
}

impl Memory {
    fn assign(&self, config: &mut Config, text: &[u8], min: i64) -> Result<(), Refused> {
        let value = numbers::parse_memory(text).filter(|&value| value >= min);
        (self.field.set)(config, value.ok_or(Refused::Invalid(self.refusal))?);
        Ok(())
    }
}

/// The words of a choice, for people.
pub(super) fn words_of<T: Choice>() -> String {
    T::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
}

fn yes_or_no(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}
