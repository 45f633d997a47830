import { getContext } from 'node-multiprocessing';
import { close, pipe, read, write } from 'node-multiprocessing/posix';
import { loadTexts } from '../examples/demo/load.mjs';
import { deal, examine } from '../examples/demo/work.mjs';
import { fork } from 'node:child_process';
import fs from 'node:fs';
const job=(list)=>{const c0=process.cpuUsage();const r0=process.resourceUsage();const a=performance.now();for(const t of list)examine(t);const c=process.cpuUsage(c0);const r=process.resourceUsage();return {ms:Math.round(performance.now()-a),user:c.user/1e3|0,sys:c.system/1e3|0,faults:r.minorPageFault-r0.minorPageFault}};
if(process.send){process.once('message',f=>{const t=f.map(x=>fs.readFileSync(x,'utf8'));process.send(job(t),()=>process.disconnect())})}
else{
const {Process}=getContext('fork');
const {texts}=loadTexts('node_modules');
const shares=deal(texts,+process.argv[2]);
if(process.argv[3]) examine(texts[0].text), texts.slice(0,+process.argv[3]).forEach(t=>examine(t.text));
for(let k=0;k<2;k++){
 let a=performance.now();
 console.log('cp',(await Promise.all(shares.map(s=>new Promise(r=>{const c=fork(process.argv[1]);c.once('message',r);c.send(s.map(i=>texts[i].file))})))).map(x=>JSON.stringify(x)).join(' '),Math.round(performance.now()-a));
 a=performance.now();
 const ps=shares.map(s=>{const [r,w]=pipe();const p=new Process({target(){const g=[];write(w,JSON.stringify(job(s.map(i=>texts[i].text))))}});p.start();close(w);return{p,r}});
 const started=performance.now()-a;
 console.log('fork',ps.map(({p,r})=>{const x=read(r,60000).toString();p.join();close(r);return x}).join(' '),Math.round(started),Math.round(performance.now()-a));
}}
