export {
  accessFileName,
  accessSchema,
  instanceDir,
  splitAccess,
  type Access,
  type RoleKeys,
} from "./access.ts";
export {
  createAccess,
  loadAccess,
  rotateKeys,
  saveAccessPlace,
  writeAccess,
  type ServerPlace,
} from "./file.ts";
export { readPrivateFile, withPrivateDraft } from "./private-file.ts";
export { createKey, keyId, roles, type Role } from "./roles.ts";
