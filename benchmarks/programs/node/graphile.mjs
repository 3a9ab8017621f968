// The peer graphile-worker, set up as its documentation's page on performance does. The argument is the database's URL.
import { readFileSync } from "node:fs";

import { Logger, makeWorkerUtils, runOnce } from "graphile-worker";
import pg from "pg";

const UPDATE = {
  name: "apply",
  text: "UPDATE feature_flags SET enabled = $2, rollout_percentage = $3, updated_at = now() WHERE id = $1",
};
const [connectionString] = process.argv.slice(2);
const options = {
  // The default logger writes a line for each job.
  logger: new Logger(() => (level, message) => level === "error" && console.error(message)),
  preset: {
    worker: {
      connectionString,
      concurrentJobs: 24,
      maxPoolSize: 25,
      localQueue: { size: 500 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  },
};
const client = new pg.Client(connectionString);
await client.connect();
const { rows: due } = await client.query("SELECT flag, enabled, rollout FROM due");

const utils = await makeWorkerUtils(options);
await utils.migrate();
await utils.addJobs(due.map((payload) => ({ identifier: "apply", payload })));
await utils.release();
await client.query("CHECKPOINT");

let first;
let jobs = 0;
await runOnce(options, {
  apply: async ({ flag, enabled, rollout }, { withPgClient }) => {
    first ??= performance.now();
    await withPgClient((session) => session.query({ ...UPDATE, values: [flag, enabled, rollout] }));
    jobs += 1;
  },
});
const seconds = (performance.now() - first) / 1000;

const { rows } = await client.query("SELECT count(*)::integer AS left FROM graphile_worker.jobs");
await client.end();
if (jobs !== due.length || rows[0].left) throw new Error(`${jobs} of ${due.length} done, ${rows[0].left} left`);
const { version } = JSON.parse(readFileSync(new URL("node_modules/graphile-worker/package.json", import.meta.url)));
console.log(JSON.stringify({ jobs, seconds, version }));
