//! The cells that together cover a circle: nine at most, the centre's and those around it.

use super::cell::{Area, Cell, EARTH_RADIUS, Point, STEP_MAX};

/// Half of the equator in metres, as far as the Web Mercator projection counts it.
const HALF_EQUATOR: f64 = 20037726.37;

/// East and north of the cells, in the order in which Redis looks into them: results that are not sorted show it.
const AROUND: [(i32, i32); 9] = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];

/// Cells that cover all points within `radius` metres of `centre`.
pub(super) fn cover(centre: Point, radius: f64) -> Vec<Cell> {
    let mut step = step_for(radius, centre.latitude);
    let mut middle = Cell::of(centre, step);
    if step > 1 && leaves_the_nine(centre, radius, middle) {
        step -= 1;
        middle = Cell::of(centre, step);
    }
    let (area, circle) = (middle.area(), bounds(centre, radius));
    let reaches = |east: i32, north: i32| {
        !(north < 0 && area.south < circle.south
            || north > 0 && area.north > circle.north
            || east < 0 && area.west < circle.west
            || east > 0 && area.east > circle.east)
    };
    let mut cells: Vec<Cell> = AROUND
        .into_iter()
        .filter(|&(east, north)| reaches(east, north))
        .map(|(east, north)| middle.neighbour(east, north))
        .collect();
    // With very few cells around the world, two directions may lead to the same one.
    cells.dedup();
    cells
}

/// The step whose cells are about as large as the circle.
fn step_for(radius: f64, latitude: f64) -> u8 {
    if radius == 0.0 {
        return STEP_MAX;
    }
    let (mut step, mut reach) = (-1i32, radius);
    while reach < HALF_EQUATOR {
        reach *= 2.0;
        step += 1;
    }
    // Stripes of longitude get narrow towards the poles.
    step -= i32::from(latitude.abs() > 66.0) + i32::from(latitude.abs() > 80.0);
    step.clamp(1, i32::from(STEP_MAX)) as u8
}

/// Whether the circle reaches beyond the cells next to `middle`: the centre may be near an edge.
fn leaves_the_nine(centre: Point, radius: f64, middle: Cell) -> bool {
    let Point { longitude, latitude } = centre;
    let area = |east, north| middle.neighbour(east, north).area();
    let edges = [
        Point { longitude, latitude: area(0, 1).north },
        Point { longitude, latitude: area(0, -1).south },
        Point { longitude: area(1, 0).east, latitude },
        Point { longitude: area(-1, 0).west, latitude },
    ];
    edges.into_iter().any(|edge| centre.distance(edge) < radius)
}

/// Degrees that the circle spans.
fn bounds(centre: Point, radius: f64) -> Area {
    let degrees = |radians: f64| radians / (std::f64::consts::PI / 180.0);
    let parallel = (centre.latitude * (std::f64::consts::PI / 180.0)).cos();
    let (across, along) = (degrees(radius / EARTH_RADIUS / parallel), degrees(radius / EARTH_RADIUS));
    Area {
        west: centre.longitude - across,
        east: centre.longitude + across,
        south: centre.latitude - along,
        north: centre.latitude + along,
    }
}

#[cfg(test)]
mod tests {
    use super::super::cell::LATITUDE_MAX;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_circles_have_small_cells() {
        assert_eq!(step_for(0.0, 0.0), 26);
        assert_eq!(step_for(0.1, 0.0), 26);
        assert_eq!(step_for(1000.0, 0.0), 14);
        assert_eq!((step_for(1000.0, 67.0), step_for(1000.0, -81.0)), (13, 12));
        assert_eq!(step_for(f64::INFINITY, 0.0), 1);
        assert_eq!(step_for(1e7, 85.0), 1);
    }

    #[test]
    fn no_cell_is_looked_into_twice() {
        for radius in [1.0, 1e6, 5e6, 1e7, 2e7, 4e7, f64::INFINITY] {
            for longitude in [-180.0, -91.0, 0.0, 90.0, 180.0] {
                for latitude in [-LATITUDE_MAX, -40.0, 0.0, 85.0] {
                    let cells = cover(Point { longitude, latitude }, radius);
                    for (i, cell) in cells.iter().enumerate() {
                        assert!(!cells[..i].contains(cell), "{cells:?} for {radius} m around {longitude} {latitude}");
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn points_in_the_circle_are_in_the_cells(
            longitude in -179.0..179.0f64, latitude in -65.0..65.0f64,
            (radius, turn, part) in (1.0..2e6f64, 0.0..6.3f64, 0.0..0.99f64),
        ) {
            let centre = Point { longitude, latitude };
            let along = (radius * part / EARTH_RADIUS).to_degrees();
            let point = Point {
                longitude: longitude + along * turn.cos() / latitude.to_radians().cos(),
                latitude: latitude + along * turn.sin(),
            };
            if point.longitude.abs() <= 180.0 && centre.distance(point) <= radius {
                let cells = cover(centre, radius);
                prop_assert!(cells.iter().any(|cell| cell.scores().contains(&(point.score() as f64))), "{cells:?}");
            }
        }
    }
}
