//! What a target can do besides what every one can: it says so in the text of its answer to the link's SELECT.
//!
//! Why there: an original source does not look at the text of a good answer, and an original target says `OK` and nothing
//! else. So neither ever meets anything that it does not know, and no question has to be asked.

/// What a target has said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities {
    /// It takes strings in parts.
    pub parts: bool,
    /// It takes many keys in one message.
    pub many: bool,
    /// It drops what is left of a link that the source names.
    pub ends: bool,
    /// It wants to be asked before keys are removed at the source, because it has not yet done all with them that its
    /// operator wants.
    pub sync: bool,
}

impl Abilities {
    /// The text of an answer.
    pub fn text(self) -> String {
        let mut text = String::from("OK");
        for (able, word) in self.words() {
            if able {
                text.push(' ');
                text.push_str(word);
            }
        }
        text
    }

    /// What an answer says; nothing if it is an original's.
    pub fn parse(text: &[u8]) -> Abilities {
        let mut words = text.split(|&byte| byte == b' ');
        let mut abilities = Abilities::default();
        if words.next() == Some(b"OK") {
            for word in words {
                match word {
                    b"parts" => abilities.parts = true,
                    b"many" => abilities.many = true,
                    b"ends" => abilities.ends = true,
                    b"sync" => abilities.sync = true,
                    _ => {}
                }
            }
        }
        abilities
    }

    fn words(self) -> [(bool, &'static str); 4] {
        [(self.parts, "parts"), (self.many, "many"), (self.ends, "ends"), (self.sync, "sync")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood_and_an_originals_answer_says_nothing() {
        let all = Abilities { parts: true, many: true, ends: true, sync: true };
        for abilities in [all, Abilities { sync: false, ..all }, Abilities::default()] {
            assert_eq!(Abilities::parse(abilities.text().as_bytes()), abilities);
        }
        assert_eq!(Abilities::default().text(), "OK");
        assert_eq!(Abilities::parse(b"OK later many"), Abilities { many: true, ..Abilities::default() });
        assert_eq!(Abilities::parse(b"1 many"), Abilities::default());
    }
}
