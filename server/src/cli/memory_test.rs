//! `--test-memory`: fills memory with patterns and looks whether it keeps them.

use std::hint::black_box;

use super::Answer;

const PASSES: u64 = 5;
const WORDS_PER_MIB: usize = (1 << 20) / size_of::<u64>();

/// Tests so many megabytes. Status 1 if they cannot be had or a word was lost.
pub(super) fn run(megabytes: usize) -> Answer {
    let mut memory = Vec::new();
    let words = megabytes.saturating_mul(WORDS_PER_MIB);
    if memory.try_reserve_exact(words).is_err() {
        return Answer { text: format!("Unable to allocate {megabytes} megabytes.\n"), status: 1 };
    }
    memory.resize(words, 0);
    let lost = (0..PASSES).map(|pass| lost_words(&mut memory, pass)).sum::<usize>();
    match lost {
        0 => Answer {
            text: format!("Your memory passed this test: {megabytes} megabytes, {PASSES} passes.\n"),
            status: 0,
        },
        lost => Answer { text: format!("{lost} words of memory did not keep their value: it is faulty.\n"), status: 1 },
    }
}

/// How many words lose a pattern or its inverse.
fn lost_words(memory: &mut Vec<u64>, pass: u64) -> usize {
    [0, u64::MAX]
        .into_iter()
        .map(|inverse| {
            for (word, index) in memory.iter_mut().zip(0..) {
                *word = pattern(index, pass) ^ inverse;
            }
            // Or the compiler would know what it just wrote.
            let memory = black_box(&mut *memory);
            memory.iter().zip(0..).filter(|&(&word, index)| word != pattern(index, pass) ^ inverse).count()
        })
        .sum()
}

/// Address, alternating bits, and then numbers without order.
fn pattern(index: u64, pass: u64) -> u64 {
    match pass {
        0 => index,
        1 => 0x5555_5555_5555_5555,
        _ => (index ^ pass << 60).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29),
    }
}
