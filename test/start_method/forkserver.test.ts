import { freshConformance } from '../conformance/fresh.js';
import { parentEndsConformance } from '../conformance/process.js';

freshConformance('forkserver');
parentEndsConformance('forkserver');
