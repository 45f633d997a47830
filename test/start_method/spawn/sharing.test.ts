import { sharingConformance } from '../../conformance/sharing.js';

sharingConformance('spawn');
