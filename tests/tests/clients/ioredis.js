// ioredis against the server whose port is the second argument: what a Node program would do, with checks.
// The first argument is the folder in which the library was installed.

const assert = require("node:assert");
const { createRequire } = require("node:module");
const Redis = createRequire(process.argv[2] + "/")("ioredis");

async function main() {
  const connect = () => new Redis({ host: "127.0.0.1", port: Number(process.argv[3]), maxRetriesPerRequest: 1 });
  const redis = connect();
  const other = connect();

  assert.equal(await redis.set("text", "värld"), "OK");
  assert.equal(await redis.get("text"), "värld");
  assert.deepEqual(await redis.getBuffer("text"), Buffer.from("värld"));
  assert.equal(await redis.hmset("hash", { field: "value", size: 5 }), "OK");
  assert.deepEqual(await redis.hgetall("hash"), { field: "value", size: "5" });
  assert.deepEqual(await redis.zadd("zset", 1, "one", 2.5, "two"), 2);
  assert.deepEqual(await redis.zrange("zset", 0, -1, "WITHSCORES"), ["one", "1", "two", "2.5"]);

  const many = redis.pipeline();
  for (let number = 0; number < 1000; number++) many.set(`key:${number}`, number).get(`key:${number}`);
  const replies = await many.exec();
  assert.deepEqual(replies.at(-1), [null, "999"]);

  assert.deepEqual(await redis.multi().incr("count").incrby("count", 9).exec(), [[null, 1], [null, 10]]);
  await redis.watch("count");
  await other.incr("count");
  assert.equal(await redis.multi().set("count", 0).exec(), null);
  assert.equal(await redis.get("count"), "11");

  // A command of one's own is EVALSHA, and EVAL when the server does not know the script.
  redis.defineCommand("reserve", {
    numberOfKeys: 1,
    lua: "if redis.call('setnx', KEYS[1], ARGV[1]) == 1 then return {ok = 'TAKEN'} end return redis.call('get', KEYS[1])",
  });
  assert.equal(await redis.reserve("seat", "me"), "TAKEN");
  assert.equal(await other.script("FLUSH"), "OK");
  assert.equal(await redis.reserve("seat", "you"), "me");

  const popped = redis.blpop("queue", 30);
  assert.equal(await other.rpush("queue", "job"), 1);
  assert.deepEqual(await popped, ["queue", "job"]);

  await assert.rejects(redis.incr("text"), /not an integer/);
  const keys = new Set();
  for await (const page of redis.scanStream({ match: "key:*", count: 100 })) page.forEach((key) => keys.add(key));
  assert.equal(keys.size, 1000);

  redis.disconnect();
  other.disconnect();
  console.log("ok");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
