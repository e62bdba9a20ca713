//! `rename-command`: which name a command answers to.
//!
//! Only differences from the built-in table are kept. A name that was given away or removed is unknown, unless
//! another command has taken it since.

use std::collections::BTreeMap;

/// The names that differ from the built-in ones. Names are compared without regard to case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandNames {
    /// Lower-case name -> built-in name (lower case) that it runs, or `None` if it runs nothing.
    changed: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

/// Why a rename was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RenameError {
    /// There is no command of the old name.
    Unknown,
    /// There is one of the new name already.
    Taken,
}

impl CommandNames {
    /// Whether no command was renamed: names need not be resolved at all.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// The built-in name that `name` runs: itself if nothing was renamed; `None` if it was renamed away.
    pub fn resolve<'a>(&'a self, name: &'a [u8]) -> Option<&'a [u8]> {
        if self.changed.is_empty() {
            return Some(name);
        }
        match self.changed.get(&name.to_ascii_lowercase()) {
            Some(built_in) => built_in.as_deref(),
            None => Some(name),
        }
    }

    /// Every changed name with the built-in name that it runs, or `None`; in lower case.
    pub fn changes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.changed.iter().map(|(name, built_in)| (name.as_slice(), built_in.as_deref()))
    }

    /// Gives the command that `old` runs the name `new`, or removes it if `new` is empty.
    pub(super) fn rename(
        &mut self,
        old: &[u8],
        new: &[u8],
        is_built_in: impl Fn(&[u8]) -> bool,
    ) -> Result<(), RenameError> {
        let find = |names: &Self, name: &[u8]| match names.changed.get(name) {
            Some(built_in) => built_in.clone(),
            None => is_built_in(name).then(|| name.to_vec()),
        };
        let (old, new) = (old.to_ascii_lowercase(), new.to_ascii_lowercase());
        let built_in = find(self, &old).ok_or(RenameError::Unknown)?;
        if !new.is_empty() && new != old && find(self, &new).is_some() {
            return Err(RenameError::Taken);
        }
        self.changed.insert(old, None);
        if !new.is_empty() {
            self.changed.insert(new, Some(built_in));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(steps: &[(&str, &str)]) -> Result<CommandNames, RenameError> {
        let mut names = CommandNames::default();
        for (old, new) in steps {
            names.rename(old.as_bytes(), new.as_bytes(), |name| [&b"get"[..], b"set"].contains(&name))?;
        }
        Ok(names)
    }

    #[test]
    fn a_renamed_command_answers_to_its_new_name_only() {
        let names = renamed(&[("GET", "Fetch")]).unwrap();
        assert_eq!(names.resolve(b"FETCH"), Some(&b"get"[..]));
        assert_eq!(names.resolve(b"get"), None);
        assert_eq!(names.resolve(b"SET"), Some(&b"SET"[..]));
    }

    #[test]
    fn an_empty_name_removes_the_command() {
        let names = renamed(&[("get", "")]).unwrap();
        assert_eq!(names.resolve(b"GET"), None);
        assert_eq!(renamed(&[("get", ""), ("get", "x")]), Err(RenameError::Unknown));
    }

    #[test]
    fn names_can_be_swapped_through_a_third_one() {
        let names = renamed(&[("get", "tmp"), ("set", "get"), ("tmp", "set")]).unwrap();
        assert_eq!(names.resolve(b"get"), Some(&b"set"[..]));
        assert_eq!(names.resolve(b"set"), Some(&b"get"[..]));
        assert_eq!(names.resolve(b"tmp"), None);
    }

    #[test]
    fn a_name_in_use_is_not_given_twice() {
        assert_eq!(renamed(&[("get", "set")]), Err(RenameError::Taken));
        assert_eq!(renamed(&[("nosuch", "x")]), Err(RenameError::Unknown));
        assert!(renamed(&[("get", "GET")]).unwrap().resolve(b"get").is_some());
    }
}
