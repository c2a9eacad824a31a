// Shows the OpenAPI schema with Swagger UI; requests from the page carry the portal's CSRF token.
document.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("swagger-ui");
  const cookie = () => document.cookie.split("; ").find((part) => part.startsWith("csrftoken="))?.slice(10) ?? "";
  window.SwaggerUIBundle({
    url: place.dataset.schema,
    domNode: place,
    presets: [window.SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
    deepLinking: true,
    docExpansion: "list",
    validatorUrl: null,
    requestInterceptor: (request) => {
      if (request.method && request.method !== "GET" && new URL(request.url, location.href).origin === location.origin) {
        request.headers["X-CSRFToken"] = cookie();
      }
      return request;
    },
  });
});
