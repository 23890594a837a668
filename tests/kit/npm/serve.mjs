// Serves SQS from memory on the loopback address until SIGTERM. Not by the package's own CLI, which listens on every
// address, writes two log lines for each request, and leaves its process behind. The port is the first line of output.
import { buildApp } from "fauxqs";

const app = buildApp({ logger: false });
// How often each operation was asked for, over all queues: what a client costs at AWS, counted by nobody's own word.
const requests = {};
app.addHook("onRequest", (request, _reply, done) => {
  const operation = request.headers["x-amz-target"]?.split(".").pop();
  if (operation) requests[operation] = (requests[operation] ?? 0) + 1;
  done();
});
app.get("/-/requests", async () => requests);
await app.listen({ port: 0, host: "127.0.0.1" });
console.log(app.server.address().port);
for (const name of ["SIGTERM", "SIGINT"]) {
  process.on(name, async () => {
    await app.close();
    process.exit(0);
  });
}
