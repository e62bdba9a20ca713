//! The grid behind geo scores: where a point is, as 52 interleaved bits.
//!
//! ```text
//!   cell of `step`:  x = one of 2^step stripes of longitude, y = one of 2^step stripes of latitude
//!   bits             x25 y25 x24 y24 .. x0 y0      a score is the bits of the cell of step 26
//! ```
//! So a cell of a smaller step is one interval of scores: its bits, followed by anything. Longitude spans -180 to 180 degrees;
//! latitude stops at 85.05112878 either way, where the Web Mercator projection (EPSG:3857) ends. The scores, the decoded
//! coordinates and the earth's radius are those of Redis 3.2, since they are stored and compared.

use std::ops::Range;

/// Bits a coordinate of a score.
pub(super) const STEP_MAX: u8 = 26;
pub(super) const LONGITUDE_MAX: f64 = 180.0;
pub(super) const LATITUDE_MAX: f64 = 85.05112878;

/// Mean radius of the earth in metres.
pub(super) const EARTH_RADIUS: f64 = 6372797.560856;

/// Degrees of longitude and latitude.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Point {
    pub(super) longitude: f64,
    pub(super) latitude: f64,
}

/// A field of the grid. `x` and `y` are below 2^step, or equal to it at the very end of the range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cell {
    x: u32,
    y: u32,
    step: u8,
}

/// The area of a cell in degrees.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Area {
    pub(super) west: f64,
    pub(super) east: f64,
    pub(super) south: f64,
    pub(super) north: f64,
}

impl Cell {
    /// The cell of this step that has the point, or that is nearest to one beyond the edge: what a score at the very edge stands
    /// for is half a cell outside.
    pub(super) fn of(point: Point, step: u8) -> Cell {
        Cell::within(point, LATITUDE_MAX, step)
    }

    /// The same on a grid whose latitude ends at `north`.
    pub(super) fn within(point: Point, north: f64, step: u8) -> Cell {
        let stripe = |offset: f64, max: f64| {
            let part = (offset.clamp(-max, max) + max) / (max + max);
            (part * f64::from(1u32 << step)) as u32
        };
        Cell { x: stripe(point.longitude, LONGITUDE_MAX), y: stripe(point.latitude, north), step }
    }

    /// The cell of the greatest step with these bits.
    fn of_bits(bits: u64) -> Cell {
        Cell { x: every_other(bits >> 1), y: every_other(bits), step: STEP_MAX }
    }

    /// The interleaved bits.
    pub(super) fn bits(self) -> u64 {
        spread(self.x) << 1 | spread(self.y)
    }

    /// The scores of all points in the cell.
    pub(super) fn scores(self) -> Range<f64> {
        let shift = 2 * (STEP_MAX - self.step);
        let score = |bits: u64| (bits << shift) as f64;
        score(self.bits())..score(self.bits() + 1)
    }

    pub(super) fn area(self) -> Area {
        let edge = |stripe: u32, max: f64| -max + f64::from(stripe) / (1u64 << self.step) as f64 * (max + max);
        Area {
            west: edge(self.x, LONGITUDE_MAX),
            east: edge(self.x.wrapping_add(1), LONGITUDE_MAX),
            south: edge(self.y, LATITUDE_MAX),
            north: edge(self.y.wrapping_add(1), LATITUDE_MAX),
        }
    }

    /// The cell `east` stripes to the east and `north` to the north, around the world in both directions.
    pub(super) fn neighbour(self, east: i32, north: i32) -> Cell {
        let mask = (1u32 << self.step) - 1;
        let moved = |stripe: u32, by: i32| if by == 0 { stripe } else { stripe.wrapping_add_signed(by) & mask };
        Cell { x: moved(self.x, east), y: moved(self.y, north), step: self.step }
    }
}

impl Point {
    /// The score of a point.
    pub(super) fn score(self) -> u64 {
        Cell::of(self, STEP_MAX).bits()
    }

    /// The point that a score stands for: the middle of its cell. Any number is taken for a score.
    pub(super) fn of_score(score: f64) -> Point {
        let area = Cell::of_bits(score_bits(score)).area();
        Point { longitude: (area.west + area.east) / 2.0, latitude: (area.south + area.north) / 2.0 }
    }

    /// Metres to another point along a great circle of a sphere (haversine formula).
    pub(super) fn distance(self, other: Point) -> f64 {
        let radians = |degrees: f64| degrees * (std::f64::consts::PI / 180.0);
        let (from, to) = (radians(self.latitude), radians(other.latitude));
        let u = ((to - from) / 2.0).sin();
        let v = ((radians(other.longitude) - radians(self.longitude)) / 2.0).sin();
        // On the far side of the earth rounding may reach beyond 1, where C's distance is no number.
        2.0 * EARTH_RADIUS * (u * u + from.cos() * to.cos() * v * v).sqrt().min(1.0).asin()
    }
}

/// A score as an unsigned integer, as the processors on which Redis runs convert it: negative ones wrap around.
fn score_bits(score: f64) -> u64 {
    const HALF: f64 = (1u64 << 63) as f64;
    if score < HALF {
        score as i64 as u64
    } else if score < 2.0 * HALF {
        score as u64
    } else {
        0
    }
}

/// Moves bit i to bit 2i.
fn spread(stripe: u32) -> u64 {
    [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, EVEN),
    ]
    .into_iter()
    .fold(u64::from(stripe), |bits, (shift, mask)| (bits | bits << shift) & mask)
}

/// Moves bit 2i to bit i and drops the others.
fn every_other(bits: u64) -> u32 {
    let steps = [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ];
    steps.into_iter().fold(bits & EVEN, |bits, (shift, mask)| (bits | bits >> shift) & mask) as u32
}

const EVEN: u64 = 0x5555_5555_5555_5555;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn point(longitude: f64, latitude: f64) -> Point {
        Point { longitude, latitude }
    }

    #[test]
    fn scores_and_positions_are_those_of_redis() {
        // From the documentation of GEOADD, GEOPOS and GEODIST.
        let palermo = point(13.361389, 38.115556);
        let catania = point(15.087269, 37.502669);
        assert_eq!(palermo.score(), 3479099956230698);
        assert_eq!(catania.score(), 3479447370796909);
        let decoded = Point::of_score(3479099956230698.0);
        assert_eq!(decoded, point(13.361389338970184, 38.1155563954963));
        let metres = decoded.distance(Point::of_score(3479447370796909.0));
        assert_eq!(format!("{metres:.4}"), "166274.1516");
    }

    #[test]
    fn the_ends_of_the_world_have_cells_and_what_is_beyond_has_theirs() {
        assert_eq!(point(-180.0, -LATITUDE_MAX).score(), 0);
        assert_eq!(point(180.0, LATITUDE_MAX).score(), 3 << 52);
        let edge = Point::of_score((3u64 << 52) as f64);
        assert!(edge.longitude > 180.0 && edge.latitude > LATITUDE_MAX);
        assert_eq!(edge.score(), 3 << 52);
        assert_eq!(point(f64::NAN, 0.0).score(), point(-180.0, 0.0).score());
    }

    #[test]
    fn neighbours_go_around_the_world() {
        let cell = Cell::of(point(-179.0, -85.0), 3);
        assert_eq!((cell.x, cell.y), (0, 0));
        let corner = cell.neighbour(-1, -1);
        assert_eq!((corner.x, corner.y), (7, 7));
        assert_eq!(corner.neighbour(1, 1), cell);
    }

    #[test]
    fn any_double_is_a_score_without_harm() {
        for score in [f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300, -1e300, u64::MAX as f64, 0.5] {
            let point = Point::of_score(score);
            assert!(point.longitude.is_finite() && point.latitude.is_finite());
        }
        assert_eq!(score_bits(-1.0), u64::MAX);
    }

    proptest! {
        #[test]
        fn interleaving_is_undone(x: u32, y: u32) {
            let bits = spread(x) << 1 | spread(y);
            prop_assert_eq!((every_other(bits >> 1), every_other(bits)), (x, y));
        }

        #[test]
        fn a_point_is_in_its_cells_area_and_scores(longitude in -180.0..180.0f64, latitude in -85.05..85.05f64, step in 1u8..=26) {
            let point = point(longitude, latitude);
            let cell = Cell::of(point, step);
            let area = cell.area();
            prop_assert!(area.west <= longitude && longitude <= area.east);
            prop_assert!(area.south <= latitude && latitude <= area.north);
            prop_assert!(cell.scores().contains(&(point.score() as f64)));
        }
    }
}
