//! Geo commands as a client, the log and a subscriber see them.

use crate::testing::World;
use engine::value::zset::ZSetLimits;

/// New York and around, from the suite of Redis.
fn worlds() -> [World; 2] {
    let mut big = World::new();
    big.settings.zset = ZSetLimits { entries: 0, value: 64 };
    [World::new(), big].map(|mut world| {
        let add = "geoadd nyc -73.9454966 40.747533 lic -73.9733487 40.7648057 central -73.9903085 40.7362513 union \
                   -74.0131604 40.7126674 wtc -73.7858139 40.6428986 jfk -73.9375699 40.7498929 q4 -73.9564142 40.7480973 4545";
        assert_eq!(world.run(add), ":7");
        world
    })
}

fn each(test: impl Fn(&mut World)) {
    worlds().iter_mut().for_each(test);
}

#[test]
fn geoadd_is_logged_as_the_zadd_that_it_is() {
    each(|world| {
        assert_eq!(world.run("geoadd p 13.361389 38.115556 Palermo 15.087269 37.502669 Catania"), ":2");
        assert_eq!(world.log, ["zadd p 3479099956230698 Palermo 3479447370796909 Catania"]);
        assert_eq!((world.dirty, &world.events[..]), (2, &["zadd p".to_string()][..]));
        assert_eq!(world.run("geoadd p 13.361389 38.115556 Palermo 15 37 Catania"), ":0");
        assert_eq!(world.dirty, 1);
        assert_eq!(world.run("geoadd p 13.361389 38.115556 Palermo"), ":0");
        assert!(world.log.is_empty());
    });
}

#[test]
fn places_are_read_back() {
    each(|world| {
        world.run("geoadd p 13.361389 38.115556 Palermo 15.087269 37.502669 Catania -5.6 42.6 x");
        for (line, reply) in [
            ("geodist p Palermo Catania", "166274.1516"),
            ("geodist p Palermo Catania km", "166.2742"),
            ("geodist p Palermo Catania mi", "103.3182"),
            ("geodist p Palermo nobody", "(nil)"),
            ("geodist none a b", ""),
            ("geohash p Palermo nobody x", "[sqc8b49rny0 (nil) ezs42e44yx0]"),
            ("geohash none a", "[]"),
            ("geopos p Palermo nobody", "[[13.36138933897018433 38.11555639549629859] (nil)]"),
            ("geopos none a", "[]"),
        ] {
            assert_eq!(world.run(line), reply, "{line}");
        }
    });
}

#[test]
fn circles_are_searched_and_sorted() {
    each(|world| {
        for (line, reply) in [
            ("georadius nyc -73.9798091 40.7598464 3 km asc", "[central 4545 union]"),
            ("georadius nyc -73.9798091 40.7598464 3 km desc", "[union 4545 central]"),
            (
                "georadius nyc -73.9798091 40.7598464 3 km withdist asc",
                "[[central 0.7750] [4545 2.3651] [union 2.7697]]",
            ),
            ("georadius nyc -73.9798091 40.7598464 10 km count 2", "[central 4545]"),
            ("georadius nyc -73.9798091 40.7598464 10 km COUNT 2 DESC", "[wtc q4]"),
            ("georadius nyc 0 0 1 m", "[]"),
            ("georadius none 0 0 1 m", "[]"),
            ("georadiusbymember nyc wtc 7 km", "[wtc union central 4545 lic]"),
            ("georadius_ro nyc -73.9798091 40.7598464 1 km", "[central]"),
            ("georadiusbymember_ro nyc wtc 1 m withhash", "[[wtc :1791873972053020]]"),
            (
                "georadiusbymember nyc wtc 1 m withcoord withhash withdist",
                "[[wtc 0.0000 :1791873972053020 [-74.01316255331039429 40.71266718145121644]]]",
            ),
        ] {
            assert_eq!(world.run(line), reply, "{line}");
        }
    });
}

#[test]
fn circles_are_stored_as_positions_or_distances() {
    each(|world| {
        world.run("set d x");
        assert_eq!(world.run("georadius nyc -73.9798091 40.7598464 3 km store d"), ":3");
        assert_eq!((world.dirty, &world.events[..]), (3, &["georadiusstore d".to_string()][..]));
        assert_eq!(world.run("georadius d -73.9798091 40.7598464 3 km asc"), "[central 4545 union]");
        assert_eq!(world.run("georadius nyc -73.9798091 40.7598464 3 km storedist d count 1"), ":1");
        assert!(world.run("zscore d central").starts_with("0.775"));
        assert_eq!(world.run("georadius nyc 0 0 1 m store d"), ":0");
        assert_eq!((world.dirty, &world.events[..]), (1, &["del d".to_string()][..]));
        assert_eq!(world.run("georadius nyc 0 0 1 m store d"), ":0");
        assert_eq!(world.dirty, 0);
    });
}

#[test]
fn what_makes_no_sense_is_refused_as_redis_does() {
    each(|world| {
        for (line, error) in [
            ("geoadd p 1 2 a 3", "-ERR syntax error. Try GEOADD key [x1] [y1] [name1] [x2] [y2] [name2] ... "),
            ("geoadd p 200 10 a", "-ERR invalid longitude,latitude pair 200.000000,10.000000"),
            ("geoadd p x 10 a", "-ERR value is not a valid float"),
            ("geodist nyc wtc jfk yd", "-ERR unsupported unit provided. please use m, km, ft, mi"),
            ("geodist nyc wtc jfk KM", "-ERR unsupported unit provided. please use m, km, ft, mi"),
            ("geodist nyc wtc jfk m m", "-ERR syntax error"),
            ("georadius nyc 1 2 x km", "-ERR need numeric radius"),
            ("georadius nyc 1 2 -1 km", "-ERR radius cannot be negative"),
            ("georadius nyc 1 91 1 km", "-ERR invalid longitude,latitude pair 1.000000,91.000000"),
            ("georadius nyc 1 2 1 km count 0", "-ERR COUNT must be > 0"),
            ("georadius nyc 1 2 1 km count", "-ERR syntax error"),
            ("georadius_ro nyc 1 2 1 km store d", "-ERR syntax error"),
            ("georadiusbymember nyc nobody 1 km", "-ERR could not decode requested zset member"),
            (
                "georadius nyc 1 2 1 km store d withdist",
                "-ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORDS options",
            ),
        ] {
            assert_eq!(world.run(line), error, "{line}");
        }
        world.run("set s x");
        assert!(world.run("geoadd s 1 2 a").starts_with("-WRONGTYPE"));
        assert!(world.run("georadius s 1 2 3 km").starts_with("-WRONGTYPE"));
    });
}

#[test]
fn scores_that_no_place_has_are_survived() {
    each(|world| {
        world.run("zadd odd -1 a 1e300 b inf c -inf d 1.5 e 18446744073709551615 f");
        for member in ["a", "b", "c", "d", "e", "f"] {
            assert!(!world.run(&format!("geopos odd {member}")).starts_with('-'));
            assert!(!world.run(&format!("geohash odd {member}")).starts_with('-'));
            assert!(!world.run(&format!("georadiusbymember odd {member} 100 km")).starts_with('-'));
        }
    });
}
