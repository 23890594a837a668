// Serves SQS from memory on the loopback address until SIGTERM. Not by the package's own CLI, which listens on every
// address, writes two log lines for each request, and leaves its process behind. The port is the first line of output.
import { buildApp } from "fauxqs";

const app = buildApp({ logger: false });
await app.listen({ port: 0, host: "127.0.0.1" });
console.log(app.server.address().port);
for (const name of ["SIGTERM", "SIGINT"]) {
  process.on(name, async () => {
    await app.close();
    process.exit(0);
  });
}
