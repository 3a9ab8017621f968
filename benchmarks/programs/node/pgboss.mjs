// The peer pg-boss: two loops that fetch 500 jobs, do them, and complete them. The argument is the database's URL.
import { readFileSync } from "node:fs";

import pg from "pg";
import PgBoss from "pg-boss";

const QUEUE = "apply";
const UPDATE = {
  name: "apply",
  text: "UPDATE feature_flags SET enabled = $2, rollout_percentage = $3, updated_at = now() WHERE id = $1",
};
const [connectionString] = process.argv.slice(2);
const pool = new pg.Pool({ connectionString, max: 20 });
const { rows: due } = await pool.query("SELECT flag, enabled, rollout FROM due");

const boss = new PgBoss(connectionString);
boss.on("error", (error) => {
  throw error;
});
await boss.start();
await boss.createQueue(QUEUE);
await boss.insert(due.map((data) => ({ name: QUEUE, data })));
await pool.query("CHECKPOINT");

let first;
let jobs = 0;
async function work() {
  for (;;) {
    const batch = await boss.fetch(QUEUE, { batchSize: 500 });
    if (batch.length === 0) return;
    first ??= performance.now();
    await Promise.all(
      batch.map(({ data }) => pool.query({ ...UPDATE, values: [data.flag, data.enabled, data.rollout] })),
    );
    await boss.complete(QUEUE, batch.map(({ id }) => id));
    jobs += batch.length;
  }
}
await Promise.all([work(), work()]);
const seconds = (performance.now() - first) / 1000;

const { rows } = await pool.query(
  "SELECT count(*)::integer AS left FROM pgboss.job WHERE name = $1 AND state <> 'completed'",
  [QUEUE],
);
await boss.stop({ graceful: false });
await pool.end();
if (jobs !== due.length || rows[0].left) throw new Error(`${jobs} of ${due.length} done, ${rows[0].left} left`);
const { version } = JSON.parse(readFileSync(new URL("node_modules/pg-boss/package.json", import.meta.url)));
console.log(JSON.stringify({ jobs, seconds, version }));
