import style from 'swagger-ui-dist/swagger-ui.css' with { type: 'text' };
import program from 'swagger-ui-dist/swagger-ui-bundle.js' with { type: 'text' };

/** The files of the explorer, by their names below /docs; all of it is in the package. */
export const explorerFiles: ReadonlyMap<string, { readonly type: string; readonly text: string }> = new Map([
  ['explorer.html', { type: 'text/html; charset=utf-8', text: page() }],
  ['explorer.js', { type: 'text/javascript; charset=utf-8', text: start() }],
  ['swagger-ui.css', { type: 'text/css; charset=utf-8', text: style }],
  ['swagger-ui-bundle.js', { type: 'text/javascript; charset=utf-8', text: program }],
]);

function page(): string {
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Runbooks: the API</title>
    <link rel="icon" href="data:,">
    <link rel="stylesheet" href="swagger-ui.css">
  </head>
  <body>
    <div id="explorer"></div>
    <script src="swagger-ui-bundle.js"></script>
    <script src="explorer.js"></script>
  </body>
</html>
`;
}

function start(): string {
  return `SwaggerUIBundle({ url: 'openapi.yaml', dom_id: '#explorer', deepLinking: true, validatorUrl: null });\n`;
}
