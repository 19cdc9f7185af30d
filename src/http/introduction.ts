// What the documentation begins with: a stranger's first minute.

/** Markdown. */
export const introduction = `
Send an event by HTTP. It is stored durably, sent to your webhook with a signature and retries, and kept in an inbox
that you can read and acknowledge.

### The first event, in a minute

1. **Make a key.** Open *Keys* → \`POST /api/keys/generate\` and press *Execute*. (On a server with an ADMIN_TOKEN, press
   *Authorize* first and enter it as *AdminToken*.) The answer has your \`api_key\`. It is shown only once; this page
   remembers it until it is reloaded.
2. **Authorize.** Later, or with another key: press *Authorize*, paste the key as *ApiKey*.
3. **Send an event.** *Events* → \`POST /api/events\` → *Execute*. The answer is 202: the event is on disk.
4. **Read it.** *Inbox* → \`GET /api/inbox\` → *Execute*. It is there. Set a webhook (\`POST /api/webhook/config\`) to have
   the next ones sent to you, or endpoints (\`POST /api/endpoints\`) to have each kind sent to its own place.
5. **Ask why.** \`GET /api/events/:id/explain\` says for each endpoint whether it got the event, and if not, why and when.

The same by curl, with the server on this machine:

\`\`\`sh
curl -s http://127.0.0.1:3000/api/keys/generate -H 'Content-Type: application/json' \\
  -d '{"organization_name":"Acme GmbH"}'
KEY=zap_live_...   # the api_key of that answer
curl -s http://127.0.0.1:3000/api/events -H "X-API-Key: $KEY" -H 'Content-Type: application/json' \\
  -d '{"type":"order.created","payload":{"order_id":1042}}'
curl -s http://127.0.0.1:3000/api/inbox -H "X-API-Key: $KEY"
\`\`\`

### Sending more, reading more

- **Many at once**: \`POST /api/events/batch\` takes 1,000. **Later**: \`deliver_at\`. **CloudEvents 1.0** go to the same paths.
- **Share the work** among consumers: \`POST /api/inbox/lease\`, then \`POST /api/inbox/ack\`.
- **Follow along**: \`GET /api/inbox/stream\` sends each event as it is committed; \`GET /api/inbox?wait=30\` waits for the next.

### What holds everywhere

- JSON in UTF-8, times in RFC 3339 (UTC, milliseconds), ids are UUIDv7.
- Errors are \`application/problem+json\` (RFC 9457). \`code\` is a stable word for programs, \`detail\` says what to do.
- Every answer has \`X-Request-Id\`: yours, when you sent one of up to 128 letters, digits and \`. _ : / + = -\`.
- Payloads stay exactly as you wrote them: key order, number digits, escapes.
- An unknown field or query parameter is refused with 422, so that a misspelt one does not go unnoticed.
`.trim();
