/** The child of pipe.ipc.mjs: sends everything back. */

process.on('message', (message) => process.send(message));
