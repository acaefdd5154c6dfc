// "Try it out" works with the cookies of this browser: whoever is signed in here sends the session's CSRF token along.
window.ui = SwaggerUIBundle({
  url: "/api/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  requestInterceptor: (request) => {
    const token = document.cookie.match(/(?:^|; )(?:__Host-)?csrf_token=([^;]+)/);
    if (token && !/^(GET|HEAD)$/i.test(request.method || "GET")) {
      request.headers["X-CSRF-Token"] = token[1];
    }
    return request;
  },
});
