// Enqueues a job as any language can: one publish, no header.
import { connect } from "@nats-io/transport-node";

const [server, id] = process.argv.slice(2);
const nc = await connect({ servers: server });
nc.publish(`millhand.default.ready.email.${id}`, JSON.stringify({ to: "a@example.com" }));
await nc.drain();
