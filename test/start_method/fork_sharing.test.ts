import { withoutExternalBuffers, withoutProc } from '../conformance/cases.js';
import { sharingConformance } from '../conformance/sharing.js';

sharingConformance('fork');
sharingConformance('fork', withoutExternalBuffers('fork'));
sharingConformance('fork', withoutProc('fork'));
