//! SORT: the elements of a list, set or sorted set in another order, or what keys named after them hold.
//!
//! A *pattern* names a key by an element: its first `*` stands for the element, and what follows a `->` is a field of the
//! hash at that key. The keys that patterns name are not among the arguments, hence the row's [`Access::Patterns`].
//!
//! Elements and weights are copied into one arena first, each followed by a NUL (which collation wants): looking up keys
//! may remove expired ones, even the one that is being sorted.

use crate::args::Args;
use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::table::{Access, Command, Handler, command};
use engine::effects::class::{GENERIC, LIST};
use engine::encoding::item::Item;
use engine::keyspace::{Key, Keyspace, SetExpire};
use engine::raw::collate;
use engine::raw::entry::{Body, EntryRef, Value};
use engine::value::List;
use engine::value::list::End;
use resp::errors;
use resp::{Flags, GetKeys, KeySpec};
use std::cmp::Ordering;
use std::ops::Range;

/// What the arguments ask for.
#[derive(Default)]
struct Options<'a> {
    descending: bool,
    alpha: bool,
    /// First element and number of elements (negative: all that follow).
    limit: Option<(i64, i64)>,
    /// A pattern without `*` was given to BY: the order is left as it is.
    unsorted: bool,
    by: Option<&'a [u8]>,
    get: Vec<&'a [u8]>,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>) -> Result<Options<'a>, Error> {
        let int = |i: usize| resp::parse_i64(args.at(i)).ok_or(Error::Text(errors::NOT_AN_INTEGER));
        let mut options = Options::default();
        let mut i = 2;
        while i < args.len() {
            let left = args.len() - i - 1;
            if args.is(i, "asc") {
                options.descending = false;
            } else if args.is(i, "desc") {
                options.descending = true;
            } else if args.is(i, "alpha") {
                options.alpha = true;
            } else if args.is(i, "limit") && left >= 2 {
                options.limit = Some((int(i + 1)?, int(i + 2)?));
                i += 2;
            } else if args.is(i, "store") && left >= 1 {
                options.store = Some(args.at(i + 1));
                i += 1;
            } else if args.is(i, "by") && left >= 1 {
                let pattern = args.at(i + 1);
                options.by = Some(pattern);
                options.unsorted |= star(pattern).is_none();
                i += 1;
            } else if args.is(i, "get") && left >= 1 {
                options.get.push(args.at(i + 1));
                i += 1;
            } else {
                return Err(Error::Text(errors::SYNTAX));
            }
            i += 1;
        }
        Ok(options)
    }

    /// The part of `len` elements that LIMIT leaves.
    fn range(&self, len: usize) -> Range<usize> {
        let Some((start, count)) = self.limit else { return 0..len };
        let start = usize::try_from(start).unwrap_or(0).min(len);
        let count = usize::try_from(count).unwrap_or(len);
        start..start.saturating_add(count).min(len)
    }
}

/// Whether keys may be touched that are not where COMMAND GETKEYS says: patterns name them, or (as 3.2 looks for the
/// destination in another way than it reads it) the destination is called as an option.
pub fn has_patterns(args: &Args<'_>) -> bool {
    let odd = |i: usize| args.is(i, "store") && (args.is(i + 1, "limit") || args.is(i + 1, "store"));
    (2..args.len()).any(|i| args.is(i, "by") || args.is(i, "get") || odd(i))
}

/// Where a pattern's `*` is. Patterns are C strings: what follows a NUL is not looked at.
fn star(pattern: &[u8]) -> Option<usize> {
    pattern.iter().take_while(|&&byte| byte != 0).position(|&byte| byte == b'*')
}

/// A pattern, taken apart.
enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// No `*`: names nothing.
    Nothing,
    /// The key is `before`, the element, `after`; a field of the hash there if one is named.
    Key { before: &'a [u8], after: &'a [u8], field: Option<&'a [u8]> },
}

impl<'a> Pattern<'a> {
    fn parse(pattern: &'a [u8]) -> Pattern<'a> {
        if pattern == b"#" {
            return Pattern::Element;
        }
        let Some(star) = star(pattern) else { return Pattern::Nothing };
        let (before, after) = (&pattern[..star], &pattern[star + 1..]);
        let text = after.split(|&byte| byte == 0).next().unwrap_or_default();
        match text.windows(2).position(|pair| pair == b"->") {
            Some(arrow) if arrow + 2 < text.len() => {
                Pattern::Key { before, after: &after[..arrow], field: Some(&after[arrow + 2..]) }
            }
            _ => Pattern::Key { before, after, field: None },
        }
    }

    /// Calls `with` with what the pattern names for `element`.
    fn look_up<R>(&self, keys: &mut Keyspace<'_, '_>, element: &[u8], with: impl FnOnce(Option<&[u8]>) -> R) -> R {
        let Pattern::Key { before, after, field } = *self else {
            return with(matches!(self, Pattern::Element).then_some(element));
        };
        let name = [before, element, after].concat();
        let value = keys.read(&Key::new(&name)).map(EntryRef::value);
        let item = match (value, field) {
            (Some(Value::Hash(hash)), Some(field)) => hash.get(field),
            (Some(Value::Int(int)), None) => Some(Item::Int(int)),
            (Some(Value::Bytes(bytes)), None) => Some(Item::Str(bytes)),
            _ => None,
        };
        match item {
            Some(item) => item.with_bytes(|bytes| with(Some(bytes))),
            None => with(None),
        }
    }
}

/// A text in the [`Arena`], without its NUL.
#[derive(Clone, Copy)]
struct Text {
    start: usize,
    len: usize,
}

#[derive(Default)]
struct Arena(Vec<u8>);

impl Arena {
    fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Text {
        let start = self.0.len();
        write(&mut self.0);
        let len = self.0.len() - start;
        self.0.push(0);
        Text { start, len }
    }

    fn bytes(&self, text: Text) -> &[u8] {
        &self.0[text.start..text.start + text.len]
    }

    fn with_nul(&self, text: Text) -> &[u8] {
        &self.0[text.start..=text.start + text.len]
    }
}

/// An element, and what it is sorted by: `weight` if by texts named by a pattern, `score` if by numbers.
#[derive(Clone, Copy)]
struct Element {
    text: Text,
    score: f64,
    weight: Option<Text>,
}

struct Elements {
    arena: Arena,
    all: Vec<Element>,
}

/// How elements are compared.
enum Order {
    Scores,
    Weights,
    Texts,
}

impl Elements {
    fn load<'i>(items: impl Iterator<Item = Item<'i>>) -> Elements {
        let mut arena = Arena::default();
        let all =
            items.map(|item| Element { text: arena.add(|to| item.write_to(to)), score: 0.0, weight: None }).collect();
        Elements { arena, all }
    }

    /// Finds what each element is sorted by. False if something that should be a number is none.
    fn weigh(&mut self, keys: &mut Keyspace<'_, '_>, by: Option<&[u8]>, alpha: bool) -> bool {
        let pattern = by.map(Pattern::parse);
        let mut numbers = true;
        let mut scratch = Vec::new();
        for element in &mut self.all {
            let found = match &pattern {
                None if alpha => continue,
                None => {
                    scratch.clear();
                    scratch.extend_from_slice(self.arena.bytes(element.text));
                    true
                }
                Some(pattern) => pattern.look_up(keys, self.arena.bytes(element.text), |bytes| {
                    scratch.clear();
                    scratch.extend_from_slice(bytes.unwrap_or_default());
                    bytes.is_some()
                }),
            };
            match found {
                false => {}
                true if alpha => element.weight = Some(self.arena.add(|to| to.extend_from_slice(&scratch))),
                true => match score(&scratch) {
                    Some(score) => element.score = score,
                    None => numbers = false,
                },
            }
        }
        numbers
    }

    /// Puts the elements of `range` where they belong, and drops those behind it.
    fn sort(&mut self, order: &Order, descending: bool, binary: bool, range: &Range<usize>) {
        let arena = &self.arena;
        let bytes = |a, b| arena.bytes(a).cmp(arena.bytes(b));
        // None is a NaN.
        let numbers = |a: f64, b: f64| a.partial_cmp(&b).unwrap_or(Ordering::Equal);
        let texts = |a, b| if binary { bytes(a, b) } else { collate::compare(arena.with_nul(a), arena.with_nul(b)) };
        let compare = |a: &Element, b: &Element| {
            let ordering = match order {
                Order::Scores => numbers(a.score, b.score).then_with(|| bytes(a.text, b.text)),
                Order::Texts => texts(a.text, b.text),
                Order::Weights => match (a.weight, b.weight) {
                    (Some(a), Some(b)) => texts(a, b),
                    (a, b) => a.is_some().cmp(&b.is_some()),
                },
            };
            let ordering = if descending { ordering.reverse() } else { ordering };
            // Equal ones stay in their order, so that the outcome is always the same.
            ordering.then(a.text.start.cmp(&b.text.start))
        };
        if range.end < self.all.len() {
            self.all.select_nth_unstable_by(range.end, compare);
            self.all.truncate(range.end);
        }
        self.all.sort_unstable_by(compare);
    }
}

/// The number that a text is, to sort by: as C reads it, up to a NUL, leading blanks allowed, no text being 0.
fn score(text: &[u8]) -> Option<f64> {
    let number = resp::strtod(text);
    let whole = text.get(number.len).is_none_or(|&byte| byte == 0);
    (whole && !number.out_of_range && !number.value.is_nan()).then_some(number.value)
}

/// What is to be sorted.
fn source<'k>(keys: &'k mut Keyspace<'_, '_>, key: &Key<'_>) -> Result<Option<Value<'k>>, Error> {
    match keys.read(key).map(EntryRef::value) {
        None => Ok(None),
        Some(value @ (Value::List(_) | Value::Set(_) | Value::ZSet(_))) => Ok(Some(value)),
        Some(_) => Err(Error::Text(errors::WRONG_TYPE)),
    }
}

fn sort(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(1);
    source(&mut ctx.keys, &key)?;
    let mut options = Options::parse(ctx.args)?;
    let source = ctx.keys.at(&key).map(EntryRef::value);
    // A set has no order of its own that would be the same everywhere: where that matters, it gets one.
    if options.unsorted && matches!(source, Some(Value::Set(_))) && (options.store.is_some() || ctx.in_script) {
        options = Options { unsorted: false, alpha: true, by: None, ..options };
    }
    let (mut elements, mut range) = load(source, &options);
    if !options.unsorted {
        if !elements.weigh(&mut ctx.keys, options.by, options.alpha) {
            return Err(Error::Text("ERR One or more scores can't be converted into double"));
        }
        let order = match (options.alpha, options.by) {
            (false, _) => Order::Scores,
            (true, Some(_)) => Order::Weights,
            (true, None) => Order::Texts,
        };
        elements.sort(&order, options.descending, options.store.is_some(), &range);
    }
    range.end = range.end.min(elements.all.len());
    let patterns: Vec<Pattern<'_>> = options.get.iter().map(|pattern| Pattern::parse(pattern)).collect();
    let chosen = elements.all[range].iter().map(|element| elements.arena.bytes(element.text));
    match options.store {
        None => reply(ctx, chosen, &patterns),
        Some(destination) => store(ctx, &Key::new(destination), chosen, &patterns),
    }
    Ok(())
}

/// The elements to sort, and which of them LIMIT leaves. Where they are not sorted and have an order of their own, only
/// those are loaded.
fn load(source: Option<Value<'_>>, options: &Options<'_>) -> (Elements, Range<usize>) {
    let part = |len: usize| {
        let range = options.range(len);
        let count = range.len();
        (range, 0..count)
    };
    match source {
        Some(Value::List(list)) if options.unsorted => {
            let (range, loaded) = part(list.len());
            let elements = if options.descending {
                let last = list.len().wrapping_sub(range.start + 1);
                Elements::load(list.iter_back_from(last).take(range.len()))
            } else {
                Elements::load(list.iter_from(range.start).take(range.len()))
            };
            (elements, loaded)
        }
        Some(Value::ZSet(zset)) if options.unsorted => {
            let (range, loaded) = part(zset.len());
            let len = zset.len();
            let members = if options.descending {
                zset.descending(len - range.end..len - range.start)
            } else {
                zset.ascending(range)
            };
            (Elements::load(members.map(|(member, _)| member)), loaded)
        }
        Some(Value::List(list)) => (Elements::load(list.iter()), options.range(list.len())),
        Some(Value::Set(set)) => (Elements::load(set.iter()), options.range(set.len())),
        Some(Value::ZSet(zset)) => (Elements::load(zset.iter().map(|(member, _)| member)), options.range(zset.len())),
        _ => (Elements::load(std::iter::empty()), 0..0),
    }
}

fn reply<'e>(ctx: &mut Ctx<'_, '_>, elements: impl ExactSizeIterator<Item = &'e [u8]>, patterns: &[Pattern<'_>]) {
    ctx.out.array(elements.len() * patterns.len().max(1));
    for element in elements {
        if patterns.is_empty() {
            ctx.out.bulk(element);
        }
        for pattern in patterns {
            pattern.look_up(&mut ctx.keys, element, |found| ctx.out.bulk_or_null(found));
        }
    }
}

fn store<'e>(
    ctx: &mut Ctx<'_, '_>,
    destination: &Key<'_>,
    elements: impl ExactSizeIterator<Item = &'e [u8]>,
    patterns: &[Pattern<'_>],
) {
    let limit = ctx.settings.list_node;
    let mut list = List::new();
    for element in elements {
        if patterns.is_empty() {
            list.push(End::Back, element, limit);
        }
        for pattern in patterns {
            pattern.look_up(&mut ctx.keys, element, |found| list.push(End::Back, found.unwrap_or_default(), limit));
        }
    }
    let len = list.len();
    if len > 0 {
        ctx.keys.put(destination, Body::List(list), SetExpire::Clear);
        ctx.keys.touched(destination, LIST, "sortstore");
        ctx.keys.dirty(len as u64);
    } else if ctx.keys.remove(destination) {
        ctx.keys.changed(destination, GENERIC, "del");
    }
    ctx.out.int(len as i64);
}

pub(crate) static TABLE: &[Command] =
    &[command("sort", -2, KeySpec::movable(1, 1, 1, GetKeys::Sort), Flags::WRITE.or(Flags::DENYOOM), sort as Handler)
        .holding(Access::Patterns)];

#[cfg(test)]
mod tests {
    use super::{Options, TABLE, has_patterns};
    use crate::args::Args;
    use crate::testing::World;

    #[test]
    fn numbers_texts_and_directions() {
        let mut world = World::new();
        world.run("RPUSH l 3 10 2 1.5 -7");
        assert_eq!(world.run("SORT l"), "[-7 1.5 2 3 10]");
        assert_eq!(world.run("SORT l DESC"), "[10 3 2 1.5 -7]");
        assert_eq!(world.run("SORT l alpha"), "[-7 1.5 10 2 3]");
        assert_eq!(world.run("SORT l limit 1 2"), "[1.5 2]");
        assert_eq!(world.run("SORT l limit -5 2 desc"), "[10 3]");
        assert_eq!(world.run("SORT l limit 3 -1"), "[3 10]");
        assert_eq!(world.run("SORT l limit 5 1"), "[]");
        assert_eq!(world.run("SORT l limit 0 9223372036854775807"), "[-7 1.5 2 3 10]");
        assert_eq!(world.sorted("SORT none"), "[]");
        assert_eq!(world.dirty, 0);
        world.run("RPUSH same 1.0 1 +1 0x1");
        assert_eq!(world.run("SORT same"), "[+1 0x1 1 1.0]");
        world.run("RPUSH blanks ' 2' '' 1");
        assert_eq!(world.run("SORT blanks"), "[ 1  2]");
    }

    #[test]
    fn what_cannot_be_done_is_refused_in_this_order() {
        let mut world = World::new();
        world.run("RPUSH l 1 x");
        assert_eq!(world.run("SORT l"), "-ERR One or more scores can\\'t be converted into double");
        assert_eq!(world.run("SORT l store d"), "-ERR One or more scores can\\'t be converted into double");
        assert_eq!(world.run("SORT l limit 1"), "-ERR syntax error");
        assert_eq!(world.run("SORT l limit 1 x"), "-ERR value is not an integer or out of range");
        assert_eq!(world.run("SORT l by"), "-ERR syntax error");
        assert_eq!(world.run("SORT l down"), "-ERR syntax error");
        world.run("SET s 1");
        assert!(world.run("SORT s down").starts_with("-WRONGTYPE"));
        for bad in ["nan", "1x", "1e999", "'1 '"] {
            world.run(&format!("RPUSH bad-{bad} {bad}"));
            assert!(world.run(&format!("SORT bad-{bad}")).starts_with("-ERR One or more"), "{bad}");
        }
    }

    #[test]
    fn patterns_name_keys_and_fields() {
        let mut world = World::new();
        world.run("RPUSH l a b c");
        world.run("MSET w:a 3 w:b 1 w:c 2 x:a-> odd *a star");
        assert_eq!(world.run("SORT l BY w:*"), "[b c a]");
        assert_eq!(world.run("SORT l BY w:* GET # GET w:* GET none:*"), "[b 1 (nil) c 2 (nil) a 3 (nil)]");
        assert_eq!(world.run("SORT l BY no GET const GET x:*->"), "[(nil) odd (nil) (nil) (nil) (nil)]");
        world.run("HSET h:a f 1");
        world.run("HSET h:b f 2");
        assert_eq!(world.run("SORT l BY h:*->f DESC"), "[b a c]");
        assert_eq!(world.run("SORT l BY h:*->f ALPHA"), "[c a b]");
        assert_eq!(world.run("SORT l BY no GET h:*->f GET h:*"), "[1 (nil) 2 (nil) (nil) (nil)]");
        assert_eq!(world.run("SORT l BY w:* LIMIT 1 1"), "[c]");
        assert_eq!(world.run("SORT l BY none:*"), "[a b c]");
        assert_eq!(world.run("SORT l BY no DESC LIMIT 0 2"), "[c b]");
        assert_eq!(world.run("SORT l BY w:* STORE d GET w:* GET none:*"), ":6");
        assert_eq!(world.run("LRANGE d 0 -1"), "[1  2  3 ]");
    }

    proptest::proptest! {
        #[test]
        fn without_patterns_all_keys_are_among_the_arguments(
            words in proptest::collection::vec("limit|store|asc|alpha|by|get|1|k", 0..9),
        ) {
            let words: Vec<&[u8]> = ["sort", "list"].into_iter().chain(words.iter().map(String::as_str)).map(str::as_bytes).collect();
            let ranges: Vec<resp::Arg> = words.iter().scan(0, |start, word| {
                let arg = resp::Arg { start: *start, len: word.len() as u32 };
                *start += arg.len;
                Some(arg)
            }).collect();
            let text = words.concat();
            let args = Args::new(&text, &ranges);
            if let (false, Ok(options)) = (has_patterns(&args), Options::parse(args)) {
                let named: Vec<&[u8]> = resp::key_positions(&TABLE[0].spec, &args).map(|i| args.at(i)).collect();
                let touched: Vec<&[u8]> = [args.at(1)].into_iter().chain(options.store).collect();
                proptest::prop_assert_eq!(named, touched);
            }
        }
    }

    #[test]
    fn storing_replaces_or_removes_the_destination() {
        let mut world = World::new();
        world.run("RPUSH l 2 1");
        world.run("SET d v");
        assert_eq!(world.run("SORT l STORE d"), ":2");
        assert_eq!((world.dirty, &world.events[..]), (2, &["sortstore d".to_owned()][..]));
        assert_eq!(world.log, ["SORT l STORE d"]);
        assert_eq!(world.run("LRANGE d 0 -1"), "[1 2]");
        assert_eq!(world.run("SORT l STORE d LIMIT 5 5"), ":0");
        assert_eq!((world.dirty, &world.events[..]), (1, &["del d".to_owned()][..]));
        assert_eq!(world.run("SORT none STORE d"), ":0");
        assert_eq!(world.dirty, 0);
        assert_eq!(world.run("SORT l STORE l"), ":2");
        assert_eq!(world.run("LRANGE l 0 -1"), "[1 2]");
    }

    #[test]
    fn sets_and_sorted_sets() {
        let mut world = World::new();
        world.run("SADD s b c a aa");
        assert_eq!(world.run("SORT s BY no STORE d"), ":4");
        assert_eq!(world.run("LRANGE d 0 -1"), "[a aa b c]");
        assert_eq!(world.sorted("SORT s BY no"), "[a aa b c]");
        assert_eq!(world.run("SORT s ALPHA DESC LIMIT 1 2"), "[b aa]");
        world.run("ZADD z 1 a 5 b 2 c 10 d 3 e");
        assert_eq!(world.run("SORT z ALPHA DESC"), "[e d c b a]");
        assert_eq!(world.run("SORT z BY no"), "[a c e b d]");
        assert_eq!(world.run("SORT z BY no DESC LIMIT 0 2"), "[d b]");
        assert_eq!(world.run("SORT z BY no LIMIT 5 10"), "[]");
        assert_eq!(world.run("SORT z BY no LIMIT -10 100"), "[a c e b d]");
    }
}
