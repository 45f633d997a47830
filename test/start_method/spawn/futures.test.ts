import { futuresConformance } from '../../conformance/futures.js';

futuresConformance('spawn');
