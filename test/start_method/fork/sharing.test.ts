import { sharingConformance } from '../../conformance/sharing.js';

sharingConformance('fork');
