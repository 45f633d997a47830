import { getContext } from 'node-multiprocessing';
import { loadTexts } from '../examples/demo/load.mjs';
import { examine,T } from './zwork.mjs';
const {Process}=getContext('fork');
const {texts}=loadTexts('node_modules');
const warm=+process.argv[2];
const run=(label,list)=>{T.words=0;const a=performance.now();for(const t of list)examine(t);console.log(label.padEnd(20),Math.round(performance.now()-a),'words',Math.round(T.words))};
if(warm) texts.slice(0,warm).forEach(t=>examine(t.text));
console.log('parent words',Math.round(T.words));
for(let k=0;k<2;k++){
const p=new Process({target(){run('child',texts.map(t=>t.text));run('child again',texts.map(t=>t.text))}});p.start();p.join();}
run('parent after',texts.map(t=>t.text));
