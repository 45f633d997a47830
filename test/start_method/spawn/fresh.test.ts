import { freshConformance } from '../../conformance/fresh.js';

freshConformance('spawn');
