// Files that the bundlers put into a chunk as text.
declare module 'swagger-ui-dist/swagger-ui.css' {
  const text: string;
  export default text;
}
declare module 'swagger-ui-dist/swagger-ui-bundle.js' {
  const text: string;
  export default text;
}
// What scripts/build-page.ts makes of web/; the package's "imports" say where it lies.
declare module '#page' {
  const files: readonly { readonly name: string; readonly gzip: string }[];
  export default files;
}
