from keystone.common.rbac_enforcer.enforcer import RBACEnforcer
from keystone.wsgi.api import application

RBACEnforcer.suppress_deprecation_warnings = True  # as where a request asks
RBACEnforcer()._enforcer.load_rules()
