export {
  accessFileName,
  accessSchema,
  instanceDir,
  splitAccess,
  type Access,
  type RoleKeys,
} from "./access.ts";
export { createAccess, loadAccess, saveAccessUrl, writeAccess } from "./file.ts";
export { createKey, keyId, roles, type Role } from "./roles.ts";
