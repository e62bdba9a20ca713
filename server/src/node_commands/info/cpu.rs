//! INFO cpu: processor time of this process.

use super::super::NodeCtx;
use std::fmt::Write;

pub(super) fn cpu(_: &mut NodeCtx<'_, '_>, text: &mut String) {
    // utime, stime and those of children stand 11 to 14 fields behind the command's closing bracket, in
    // hundredths of a second.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(4)
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    let seconds = |i: usize| format!("{:.2}", fields.get(i).unwrap_or(&0.0) / 100.0);
    field!(text, "used_cpu_sys", seconds(1));
    field!(text, "used_cpu_user", seconds(0));
    field!(text, "used_cpu_sys_children", seconds(3));
    field!(text, "used_cpu_user_children", seconds(2));
}
