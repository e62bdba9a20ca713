"""redis-py against the server whose port is the only argument: what a Python program would do, with checks."""

import sys

import redis

connection = redis.Redis(host="127.0.0.1", port=int(sys.argv[1]), decode_responses=True, socket_timeout=30)

assert connection.ping()
assert connection.set("text", "värld") and connection.get("text") == "värld"
assert connection.set("once", 1, nx=True, ex=1000) and connection.set("once", 2, nx=True) is None
assert 990 <= connection.ttl("once") <= 1000
assert connection.incrby("count", 5) == 5 and connection.incrbyfloat("float", 2.5) == 2.5
assert connection.mset({"a": 1, "b": 2}) and connection.mget("a", "b", "c") == ["1", "2", None]

assert connection.rpush("list", *range(10)) == 10
assert connection.lrange("list", 2, 4) == ["2", "3", "4"] and connection.lpop("list") == "0"

assert connection.sadd("set", "x", "y", "z") == 3 and connection.smembers("set") == {"x", "y", "z"}
assert set(connection.sscan_iter("set")) == {"x", "y", "z"}

assert connection.hset("hash", "field", "value") == 1 and connection.hgetall("hash") == {"field": "value"}
assert connection.zadd("zset", {"one": 1, "two": 2.5}) == 2
assert connection.zrange("zset", 0, -1, withscores=True) == [("one", 1.0), ("two", 2.5)]

assert connection.sort("list", desc=True, start=0, num=2) == ["9", "8"]
keys = {"text", "once", "count", "float", "a", "b", "list", "set", "hash", "zset"}
assert set(connection.scan_iter(count=3)) == keys and connection.dbsize() == len(keys)

try:
    connection.incr("list")
    raise SystemExit("INCR of a list is an error")
except redis.ResponseError as error:
    assert "WRONGTYPE" in str(error) or "wrong kind of value" in str(error), error

pipeline = connection.pipeline(transaction=False)
for number in range(1000):
    pipeline.set(f"key:{number}", number)
    pipeline.get(f"key:{number}")
assert pipeline.execute() == [part for number in range(1000) for part in (True, str(number))]

assert connection.eval("return redis.call('GET', KEYS[1]) .. ARGV[1]", 1, "count", "!") == "5!"

# What is read and written together is written only if nobody came between.
other = redis.Redis(host="127.0.0.1", port=int(sys.argv[1]))
connection.set("watched", 1)
with connection.pipeline() as pipeline:
    pipeline.watch("watched")
    other.incr("watched")
    pipeline.multi()
    pipeline.set("watched", 10)
    try:
        pipeline.execute()
        raise SystemExit("a watched key has changed")
    except redis.WatchError:
        pass
tries = []


def double(pipeline):
    tries.append(pipeline.get("watched"))
    if len(tries) == 1:
        other.incr("watched")
    pipeline.multi()
    pipeline.set("watched", 2 * int(tries[-1]))


assert connection.transaction(double, "watched") == [True]
assert tries == ["2", "3"] and connection.get("watched") == "6"
transaction = connection.pipeline(transaction=True)
assert transaction.incr("watched").expire("watched", 1000).ttl("watched").execute() == [7, True, 1000]

# The library's lock releases and extends by scripts.
lock = connection.lock("lock", timeout=100, blocking_timeout=0)
assert lock.acquire() and not connection.lock("lock", blocking_timeout=0).acquire()
assert lock.extend(50) and connection.pttl("lock") > 100_000 and lock.reacquire() and lock.owned()
other.script_flush()
lock.release()
assert not connection.exists("lock")
try:
    lock.release()
    raise SystemExit("a lock is released once")
except redis.exceptions.LockError:
    pass

# Channels, patterns and keyspace events.
listener = connection.pubsub()
listener.subscribe("news")
listener.psubscribe("n*s", "__keyevent@0__:*")
heard = [listener.get_message(timeout=10) for _ in range(3)]
assert [message["type"] for message in heard] == ["subscribe", "psubscribe", "psubscribe"]
assert [message["data"] for message in heard] == [1, 2, 3]
connection.config_set("notify-keyspace-events", "El")
assert connection.publish("news", "fresh") == 2 and connection.pubsub_numsub("news") == [("news", 1)]
assert connection.rpush("noticed", 1) == 1 and connection.delete("noticed") == 1
heard = [listener.get_message(timeout=10) for _ in range(3)]
assert [(message["type"], message["pattern"], message["channel"], message["data"]) for message in heard] == [
    ("message", None, "news", "fresh"),
    ("pmessage", "n*s", "news", "fresh"),
    ("pmessage", "__keyevent@0__:*", "__keyevent@0__:rpush", "noticed"),
]
listener.ping()
assert listener.get_message(timeout=10)["type"] == "pong"
listener.unsubscribe()
listener.punsubscribe()
assert [listener.get_message(timeout=10)["data"] for _ in range(3)] == [2, 1, 0]
listener.close()
connection.config_set("notify-keyspace-events", "")

assert connection.info("server")["redis_version"] == "3.2.11"
assert connection.delete(*keys) == len(keys)
print("ok")
