// Tells the client that showed the page that the stage is done.
// https://spec.matrix.org/v1.19/client-server-api/#fallback
"use strict";

if (window.onAuthDone) {
  window.onAuthDone();
} else if (window.opener && window.opener.postMessage) {
  window.opener.postMessage("authDone", "*");
}
