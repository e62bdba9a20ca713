"""RQ against the server whose port is the only argument: a queue with jobs that end well, fail, and depend on others."""

import math
import sys

import redis
from rq import Queue, Retry, SimpleWorker
from rq.job import JobStatus
from rq.registry import FailedJobRegistry, FinishedJobRegistry

connection = redis.Redis(host="127.0.0.1", port=int(sys.argv[1]), socket_timeout=30)
queue = Queue("work", connection=connection)

jobs = [queue.enqueue(pow, 2, number) for number in range(20)]
failing = queue.enqueue(divmod, 1, 0)
retried = queue.enqueue(math.sqrt, -1, retry=Retry(max=2))
first = queue.enqueue(sum, [1, 2, 3])
second = queue.enqueue(len, "four", depends_on=first)
assert len(queue) == 23 and second.get_status() == JobStatus.DEFERRED

worker = SimpleWorker([queue], connection=connection)
assert worker.work(burst=True)

assert [queue.fetch_job(job.id).return_value() for job in jobs] == [2**number for number in range(20)]
assert queue.fetch_job(first.id).return_value() == 6 and queue.fetch_job(second.id).return_value() == 4
assert failing.get_status(refresh=True) == JobStatus.FAILED
assert "ZeroDivisionError" in queue.fetch_job(failing.id).exc_info
assert retried.get_status(refresh=True) == JobStatus.FAILED
assert set(FailedJobRegistry(queue=queue).get_job_ids()) == {failing.id, retried.id}
assert FinishedJobRegistry(queue=queue).count == 22
assert queue.is_empty()
print("ok")
