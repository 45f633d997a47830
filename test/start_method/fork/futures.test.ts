import { futuresConformance } from '../../conformance/futures.js';

futuresConformance('fork');
