// Swagger UI's files, as Bun gives them with `with { type: "file" }`: the path of a file that can be read, inside the
// executable too.
declare module "swagger-ui-dist/*" {
  const path: string;
  export default path;
}
