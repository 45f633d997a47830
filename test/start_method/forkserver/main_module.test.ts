import { mainModuleConformance } from '../../conformance/main_module.js';

mainModuleConformance('forkserver');
