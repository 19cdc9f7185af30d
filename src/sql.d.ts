// Bun imports a file as text with `with { type: "text" }`; its own types know .txt only.
declare module "*.sql" {
  const text: string;
  export default text;
}
