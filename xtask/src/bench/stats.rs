//! Summaries of repeated measurements.

/// The middle value, or the mean of the two middle values; `None` without values. NaN must not occur.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The smallest value: the best of times and costs, since noise only adds to them.
pub fn lowest(values: &[f64]) -> Option<f64> {
    values.iter().copied().min_by(f64::total_cmp)
}

/// The largest value: the best of rates.
pub fn highest(values: &[f64]) -> Option<f64> {
    values.iter().copied().max_by(f64::total_cmp)
}

/// `ours / theirs`, or `None` where that says nothing (zero or missing figures).
pub fn ratio(ours: f64, theirs: f64) -> Option<f64> {
    (ours > 0.0 && theirs > 0.0).then(|| ours / theirs)
}

/// The mean that suits ratios: twice as good and half as good cancel out.
pub fn geometric_mean(ratios: &[f64]) -> Option<f64> {
    let logs: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
    (!ratios.is_empty()).then(|| (logs / ratios.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_order_and_one_outlier() {
        assert_eq!(median(&[9000.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_best_cost_is_the_lowest_and_the_best_rate_the_highest() {
        assert_eq!(lowest(&[3.0, 1.5, 2.0]), Some(1.5));
        assert_eq!(highest(&[3.0, 1.5, 2.0]), Some(3.0));
        assert_eq!(lowest(&[]), None);
    }

    #[test]
    fn a_ratio_needs_two_real_figures() {
        assert_eq!(ratio(1.0, 2.0), Some(0.5));
        assert_eq!(ratio(1.0, 0.0), None);
        assert_eq!(ratio(0.0, 1.0), None);
    }

    #[test]
    fn opposite_ratios_cancel_out() {
        let mean = geometric_mean(&[0.5, 2.0]).unwrap();
        assert!((mean - 1.0).abs() < 1e-12);
        assert!((geometric_mean(&[0.25, 0.25]).unwrap() - 0.25).abs() < 1e-12);
        assert_eq!(geometric_mean(&[]), None);
    }
}
