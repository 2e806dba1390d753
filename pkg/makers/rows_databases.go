package makers

import "tokenward.dev/tokenward/pkg/reference"

// databaseRows are operators of databases and queues: they make passwords.
func databaseRows() []Row {
	const crunchy = "https://access.crunchydata.com/documentation/postgres-operator/latest/architecture/user-management"
	const zalando = "https://postgres-operator.readthedocs.io/en/latest/user/"
	const percona = "https://docs.percona.com/percona-operators/"
	return []Row{
		{Group: "kafka.strimzi.io", Kind: "KafkaUser", Makes: secrets(ownName), Source: "https://strimzi.io/docs/operators/latest/deploying#con-configuring-client-authentication-str"},
		{
			Group: "kafka.strimzi.io", Kind: "Kafka", Makes: secrets(ownName+"-cluster-ca", ownName+"-cluster-ca-cert", ownName+"-clients-ca", ownName+"-clients-ca-cert"),
			Source: "https://strimzi.io/docs/operators/latest/deploying#certificates-and-secrets-formats-str",
		},
		{
			Group: "postgresql.cnpg.io", Kind: "Cluster",
			Makes:  secrets(ownName+"-app", ownName+"-superuser", ownName+"-ca", ownName+"-server", ownName+"-replication"),
			Source: "https://cloudnative-pg.io/documentation/current/applications/",
		},
		{
			Group: "acid.zalan.do", Kind: "postgresql", Each: "spec.users", Makes: secrets("{.key}.{metadata.name}.credentials.postgresql.acid.zalan.do"), Source: zalando,
		},
		{
			Group: "acid.zalan.do", Kind: "postgresql",
			Makes:  secrets("postgres."+ownName+".credentials.postgresql.acid.zalan.do", "standby."+ownName+".credentials.postgresql.acid.zalan.do", "pooler."+ownName+".credentials.postgresql.acid.zalan.do"),
			Source: zalando,
		},
		{Group: "postgres-operator.crunchydata.com", Kind: "PostgresCluster", Each: "spec.users", Makes: secrets(ownName + "-pguser-{.name}"), Source: crunchy},
		{Group: "postgres-operator.crunchydata.com", Kind: "PostgresCluster", When: []string{"!spec.users"}, Makes: secrets(ownName + "-pguser-{metadata.name}"), Source: crunchy},
		{Group: "postgres-operator.crunchydata.com", Kind: "PostgresCluster", Makes: secrets(ownName+"-cluster-cert", ownName+"-replication-cert"), Source: crunchy},
		{Group: "pgv2.percona.com", Kind: "PerconaPGCluster", Each: "spec.users", Makes: secrets(ownName + "-pguser-{.name}"), Source: percona},
		{Group: "pgv2.percona.com", Kind: "PerconaPGCluster", When: []string{"!spec.users"}, Makes: secrets(ownName + "-pguser-{metadata.name}"), Source: percona},
		{Group: "pxc.percona.com", Kind: "PerconaXtraDBCluster", Makes: secrets("{spec.secretsName}"), Source: percona},
		{Group: "pxc.percona.com", Kind: "PerconaXtraDBCluster", Makes: secrets(ownName+"-secrets", ownName+"-ssl", ownName+"-ssl-internal"), Source: percona},
		{Group: "psmdb.percona.com", Kind: "PerconaServerMongoDB", Makes: secrets("{spec.secrets.users}"), Source: percona},
		{Group: "psmdb.percona.com", Kind: "PerconaServerMongoDB", Makes: secrets(ownName+"-secrets", ownName+"-ssl", ownName+"-ssl-internal"), Source: percona},
		{
			Group: "mongodbcommunity.mongodb.com", Kind: "MongoDBCommunity", Each: "spec.users", When: []string{"!.connectionStringSecretName"}, Makes: secrets(ownName + "-{.db}-{.name}"),
			Source: "https://github.com/mongodb/mongodb-kubernetes-operator/blob/master/docs/users.md",
		},
		{
			Group: "mongodbcommunity.mongodb.com", Kind: "MongoDBCommunity", Each: "spec.users", Makes: secrets("{.connectionStringSecretName}"),
			Source: "https://github.com/mongodb/mongodb-kubernetes-operator/blob/master/docs/users.md",
		},
	}
}

// storeRows are operators of other stores: of documents, queues, objects.
func storeRows() []Row {
	const redis = "https://redis.io/docs/latest/operate/kubernetes/reference/"
	return []Row{
		{
			Group: "elasticsearch.k8s.elastic.co", Kind: "Elasticsearch",
			Makes:  secrets(ownName+"-es-elastic-user", ownName+"-es-http-certs-public", ownName+"-es-http-certs-internal", ownName+"-es-http-ca-internal", ownName+"-es-transport-certs-public", ownName+"-es-remote-ca"),
			Source: "https://www.elastic.co/docs/deploy-manage/deploy/cloud-on-k8s/accessing-services",
		},
		{
			Group: "kibana.k8s.elastic.co", Kind: "Kibana", Makes: secrets(ownName+"-kb-http-certs-public", ownName+"-kb-http-certs-internal"),
			Source: "https://www.elastic.co/docs/deploy-manage/deploy/cloud-on-k8s/accessing-services",
		},
		{
			Group: "apm.k8s.elastic.co", Kind: "ApmServer", Makes: secrets(ownName+"-apm-token", ownName+"-apm-http-certs-public"),
			Source: "https://www.elastic.co/docs/solutions/observability/apm/apm-server/use-apm-server-on-elastic-cloud-kubernetes",
		},
		{
			Group: "rabbitmq.com", Kind: "RabbitmqCluster", Makes: append(secrets(ownName+"-default-user", ownName+"-erlang-cookie"), configMaps(ownName+"-server-conf", ownName+"-plugins-conf")...),
			Source: "https://www.rabbitmq.com/kubernetes/operator/using-operator",
		},
		{Group: "rabbitmq.com", Kind: "User", Makes: secrets(ownName + "-user-credentials"), Source: "https://www.rabbitmq.com/kubernetes/operator/using-topology-operator"},
		{
			Group: "k8s.mariadb.com", Kind: "MariaDB", When: []string{"spec.rootPasswordSecretKeyRef.generate=true"}, Makes: secrets("{spec.rootPasswordSecretKeyRef.name}"),
			Source: "https://github.com/mariadb-operator/mariadb-operator/blob/main/docs/api_reference.md",
		},
		{
			Group: "k8s.mariadb.com", Kind: "MariaDB", When: []string{"spec.passwordSecretKeyRef.generate=true"}, Makes: secrets("{spec.passwordSecretKeyRef.name}"),
			Source: "https://github.com/mariadb-operator/mariadb-operator/blob/main/docs/api_reference.md",
		},
		{Group: "k8s.mariadb.com", Kind: "Connection", Makes: secrets("{spec.secretName|metadata.name}"), Source: "https://github.com/mariadb-operator/mariadb-operator/blob/main/docs/api_reference.md"},
		{Group: "app.redislabs.com", Kind: "RedisEnterpriseCluster", Makes: secrets(ownName), Source: redis},
		{Group: "app.redislabs.com", Kind: "RedisEnterpriseDatabase", Makes: secrets("redb-" + ownName), Source: redis},
		{Group: "stackgres.io", Kind: "SGCluster", Makes: secrets(ownName), Source: "https://stackgres.io/doc/latest/administration/passwords/"},
		{Group: "cassandra.datastax.com", Kind: "CassandraDatacenter", Makes: secrets("{spec.clusterName}-superuser"), Source: "https://docs.k8ssandra.io/tasks/secure/"},
		{Group: "k8ssandra.io", Kind: "K8ssandraCluster", Makes: secrets(ownName + "-superuser"), Source: "https://docs.k8ssandra.io/tasks/secure/"},
		{Group: "db.movetokube.com", Kind: "PostgresUser", Makes: secrets("{spec.secretName}-{metadata.name}"), Source: "https://github.com/movetokube/postgres-operator"},
		{
			Group: "kinda.rocks", Kind: "Database", Makes: append(secrets("{spec.secretName}"), configMaps("{spec.secretName}")...),
			Source: "https://github.com/db-operator/db-operator",
		},
		{Group: "*kubedb.com", Kind: "*", Makes: secrets(ownName + "-auth"), Likely: true, Source: "https://kubedb.com/docs/latest/guides/"},
		{
			Group: "objectbucket.io", Kind: "ObjectBucketClaim", Makes: append(secrets(ownName), configMaps(ownName)...),
			Source: "https://rook.io/docs/rook/latest/Storage-Configuration/Object-Storage-RGW/ceph-object-bucket-claim/",
		},
		{
			Group: "objectstorage.k8s.io", Kind: "BucketAccess", Makes: secrets("{spec.credentialsSecretName}"),
			Source: "https://kubernetes.io/blog/2022/09/02/cosi-kubernetes-object-storage-management/",
		},
		{
			Group: "ceph.rook.io", Kind: "CephObjectStoreUser", Makes: secrets("rook-ceph-object-user-{spec.store}-{metadata.name}"),
			Source: "https://rook.io/docs/rook/latest/Storage-Configuration/Object-Storage-RGW/object-storage/#create-a-user",
		},
		{Group: "ceph.rook.io", Kind: "CephClient", Makes: secrets("rook-ceph-client-" + ownName), Source: "https://rook.io/docs/rook/latest/CRDs/ceph-client-crd/"},
		{
			Group: "ceph.rook.io", Kind: "CephCluster",
			Makes:  append(secrets("rook-ceph-mon", "rook-ceph-config", "rook-ceph-admin-keyring"), Made{Kind: reference.ConfigMap, Name: "rook-ceph-mon-endpoints"}),
			Source: "https://rook.io/docs/rook/latest/Troubleshooting/ceph-toolbox/",
		},
	}
}
