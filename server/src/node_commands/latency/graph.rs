//! LATENCY GRAPH: bars of characters, four lines of three steps each, and under each bar how long ago it was.

use crate::latency::Series;

const COLUMNS: usize = 80;
const ROWS: usize = 4;
/// Fillings of a character, from low to high.
const STEPS: [char; 3] = ['_', 'o', '#'];

/// The picture of one event as of `now_s`, Unix seconds.
pub(super) fn draw(event: &str, series: &Series, now_s: i64) -> String {
    let values = || series.samples.iter().map(|sample| sample.ms);
    let (high, low) = (values().max().unwrap_or(0), values().min().unwrap_or(0));
    let worst = series.worst_ms;
    let mut text = format!("{event} - high {high} ms, low {low} ms (all time high {worst} ms)\n");
    text.push_str(&"-".repeat(COLUMNS));
    text.push('\n');
    for (i, part) in series.samples.chunks(COLUMNS).enumerate() {
        if i > 0 {
            text.push('\n');
        }
        let range = (high - low).max(1) as f64;
        let last = ROWS * STEPS.len() - 1;
        let step = |ms: u64| (((ms - low) as f64 * (last + 1) as f64 / range) as usize).min(last);
        for row in (0..ROWS).rev() {
            text.extend(part.iter().map(|sample| match step(sample.ms).checked_sub(row * STEPS.len()) {
                None => ' ',
                Some(over) => STEPS.get(over).copied().unwrap_or('|'),
            }));
            text.push('\n');
        }
        text.push_str(&" ".repeat(part.len()));
        text.push('\n');
        let labels: Vec<Vec<char>> = part.iter().map(|sample| ago(now_s - sample.at_s).chars().collect()).collect();
        for line in 0..labels.iter().map(Vec::len).max().unwrap_or(0) {
            text.extend(labels.iter().map(|label| label.get(line).copied().unwrap_or(' ')));
            text.push('\n');
        }
    }
    text
}

fn ago(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Sample;

    #[test]
    fn bars_stand_over_their_ages() {
        let samples = [(0, 100), (50, 300), (100, 200)].map(|(at_s, ms)| Sample { at_s, ms }).to_vec();
        let picture = draw("command", &Series { samples, worst_ms: 900 }, 110);
        let lines: Vec<&str> = picture.lines().collect();
        assert_eq!(lines[0], "command - high 300 ms, low 100 ms (all time high 900 ms)");
        assert_eq!(lines[2..], [" # ", " |_", " ||", "_||", "   ", "111", "mm0", "  s"]);
    }
}
