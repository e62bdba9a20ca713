"""Reads an RDB file with rdbtools and compares every key with what a server says of it: rdbtools_agrees.py FILE PORT"""

import sys
from datetime import datetime, timezone

import redis
from rdbtools import RdbCallback, RdbParser


def text(value):
    return value if isinstance(value, bytes) else str(value).encode()


class Keys(RdbCallback):
    """All keys of a file as {(db, key): [value, expiry]}."""

    def __init__(self):
        super().__init__(string_escape=None)
        self.db, self.keys = None, {}

    def start_database(self, db_number):
        self.db = db_number

    def begin(self, key, value, expiry):
        assert (self.db, text(key)) not in self.keys, key
        self.keys[self.db, text(key)] = [value, expiry]

    def of(self, key):
        return self.keys[self.db, text(key)][0]

    def set(self, key, value, expiry, info):
        self.begin(key, text(value), expiry)

    def start_hash(self, key, length, expiry, info):
        self.begin(key, {}, expiry)

    def hset(self, key, field, value):
        self.of(key)[text(field)] = text(value)

    def start_set(self, key, cardinality, expiry, info):
        self.begin(key, set(), expiry)

    def sadd(self, key, member):
        self.of(key).add(text(member))

    def start_list(self, key, expiry, info):
        self.begin(key, [], expiry)

    def rpush(self, key, value):
        self.of(key).append(text(value))

    def start_sorted_set(self, key, length, expiry, info):
        self.begin(key, {}, expiry)

    def zadd(self, key, score, member):
        self.of(key)[text(member)] = float(score)


READ = {
    b"string": lambda server, key: server.get(key),
    b"list": lambda server, key: server.lrange(key, 0, -1),
    b"set": lambda server, key: server.smembers(key),
    b"hash": lambda server, key: server.hgetall(key),
    b"zset": lambda server, key: dict(server.zrange(key, 0, -1, withscores=True)),
}

found = Keys()
RdbParser(found).parse(sys.argv[1])
for db in {db for db, _ in found.keys}:
    server = redis.Redis(port=int(sys.argv[2]), db=db)
    ours = {key: value for (number, key), value in found.keys.items() if number == db}
    assert server.dbsize() == len(ours), (db, server.dbsize(), len(ours))
    for key, (value, expiry) in ours.items():
        there = READ[server.type(key)](server, key)
        assert there == value, (key, there, value)
        left = server.pttl(key)
        if expiry is None:
            assert left == -1, key
        else:
            expected = (expiry.replace(tzinfo=timezone.utc) - datetime.now(timezone.utc)).total_seconds()
            assert abs(left / 1000 - expected) < 60, (key, left, expected)
