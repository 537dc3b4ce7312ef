import neutron.objects.port_forwarding
from neutron.wsgi.api import application
from sqlalchemy.orm import configure_mappers

configure_mappers()
