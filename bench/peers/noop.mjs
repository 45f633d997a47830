// What child_process.fork and the Worker run: nothing, unless told otherwise.
const [what, code] = process.argv.slice(2);
if (what === 'exit') process.exit(Number(code));
if (what === 'idle') {
  process.send('ready');
  setTimeout(() => {}, 60_000);
}
