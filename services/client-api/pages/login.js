// Logs in by password, and hands the answer to the client that shows this page.
// https://spec.matrix.org/v1.19/client-server-api/#login-fallback
"use strict";

const query = new URLSearchParams(window.location.search);

document.getElementById("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const request = {
    type: "m.login.password",
    identifier: { type: "m.id.user", user: document.getElementById("user").value },
    password: document.getElementById("password").value,
  };
  for (const field of ["device_id", "initial_device_display_name"]) {
    if (query.has(field)) {
      request[field] = query.get(field);
    }
  }
  const problem = document.getElementById("problem");
  problem.textContent = "";
  try {
    const response = await fetch("/_matrix/client/v3/login", {
      method: "POST",
      body: JSON.stringify(request),
    });
    const answer = await response.json();
    if (!response.ok) {
      problem.textContent = answer.error;
    } else if (window.matrixLogin && window.matrixLogin.onLogin) {
      window.matrixLogin.onLogin(answer);
    } else {
      problem.textContent = "You are logged in, but no client asked for it.";
    }
  } catch {
    problem.textContent = "The server does not answer.";
  }
});
