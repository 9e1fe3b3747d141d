"use strict";
// The host's end of MCP Apps for one panel. Whatever the panel says comes from a plugin: it may
// have its own tools called, through this host, and nothing else.
(() => {
  const frame = document.querySelector("iframe");
  const CALLS_MAX = 8; // that are worked on at a time
  const HEIGHT_MAX = 20000; // pixels
  let calls = 0;

  const send = (message) =>
    // The frame has an origin that no address can name.
    frame.contentWindow.postMessage({ jsonrpc: "2.0", ...message }, "*");
  const refuse = (id, code, message) => send({ id, error: { code, message } });

  const call = async (id, params) => {
    if (calls >= CALLS_MAX) {
      return refuse(id, -32000, `busy: ${CALLS_MAX} calls of this panel are worked on`);
    }
    calls += 1;
    try {
      const answer = await fetch(location.pathname, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ name: params?.name, arguments: params?.arguments ?? {} }),
        credentials: "same-origin",
        redirect: "error",
      });
      const told = await answer.json();
      if (told.error) {
        send({ id, error: told.error });
      } else {
        send({ id, result: told.result });
      }
    } catch {
      refuse(id, -32603, "this host gave no answer");
    } finally {
      calls -= 1;
    }
  };

  const requests = {
    "ui/initialize": (id) =>
      send({
        id,
        result: {
          protocolVersion: "2026-01-26",
          hostInfo: { name: "portreeve", version: "1" },
          hostCapabilities: { serverTools: {} },
          hostContext: {
            theme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light",
            displayMode: "inline",
            availableDisplayModes: ["inline"],
            locale: navigator.language,
            platform: "web",
          },
        },
      }),
    "tools/call": call,
    ping: (id) => send({ id, result: {} }),
  };

  addEventListener("message", (event) => {
    if (event.source !== frame.contentWindow || event.origin !== "null") return;
    const message = event.data;
    if (typeof message !== "object" || message === null || message.jsonrpc !== "2.0") return;
    if (message.method === "ui/notifications/size-changed") {
      const height = Number(message.params?.height);
      if (height > 0) frame.style.height = `${Math.min(height, HEIGHT_MAX)}px`;
      return;
    }
    if (message.id === undefined || typeof message.method !== "string") return;
    const known = Object.hasOwn(requests, message.method) && requests[message.method];
    if (known) {
      known(message.id, message.params);
    } else {
      refuse(message.id, -32601, "this host lets panels call their own plugin's tools, and nothing else");
    }
  });
})();
