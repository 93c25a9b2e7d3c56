{{/* How many pods make a replica, how many ranks a pod has, and which kind of object holds them. */}}
{{- define "tamis.hosts" -}}
{{- $tensor := int .Values.parallelism.tensor -}}
{{- $perNode := int .Values.parallelism.gpusPerNode -}}
{{- if le $tensor $perNode -}}1{{- else -}}{{ div $tensor $perNode }}{{- end -}}
{{- end }}

{{- define "tamis.ranksPerPod" -}}
{{- min (int .Values.parallelism.tensor) (int .Values.parallelism.gpusPerNode) -}}
{{- end }}

{{- define "tamis.isLws" -}}
{{- $enabled := toString .Values.multinode.enabled -}}
{{- if or (eq $enabled "true") (and (eq $enabled "auto") (gt (int (include "tamis.hosts" .)) 1)) -}}true{{- end -}}
{{- end }}

{{/* seconds from a pod's deletion to SIGKILL: delay, running requests, and leaving MPI */}}
{{- define "tamis.gracePeriod" -}}
{{- add (int .Values.shutdown.delaySeconds) (int .Values.shutdown.timeoutSeconds) 25 -}}
{{- end }}

{{/* Mistakes that a schema cannot see. Each names its field. */}}
{{- define "tamis.check" -}}
{{- $v := .Values -}}
{{- $tensor := int $v.parallelism.tensor -}}
{{- $perNode := int $v.parallelism.gpusPerNode -}}
{{- if and (gt $tensor $perNode) (ne (mod $tensor $perNode) 0) -}}
{{- fail (printf "parallelism.tensor is %d, which is no multiple of parallelism.gpusPerNode, %d" $tensor $perNode) -}}
{{- end -}}
{{- if and (eq (toString $v.multinode.enabled) "false") (gt (int (include "tamis.hosts" .)) 1) -}}
{{- fail (printf "multinode.enabled is false, but parallelism.tensor %d needs %s nodes" $tensor (include "tamis.hosts" .)) -}}
{{- end -}}
{{- if and (include "tamis.isLws" .) $v.multinode.requireApi (not (.Capabilities.APIVersions.Has "leaderworkerset.x-k8s.io/v1")) -}}
{{- fail "multinode.enabled needs LeaderWorkerSet >= 0.9 in the cluster (leaderworkerset.x-k8s.io/v1); install it, or set multinode.requireApi to false to render without a cluster" -}}
{{- end -}}
{{- $ports := list (int $v.server.grpcPort) (int $v.server.metricsPort) -}}
{{- if eq (index $ports 0) (index $ports 1) -}}
{{- fail (printf "server.metricsPort is %d, which is server.grpcPort" (index $ports 1)) -}}
{{- end -}}
{{- $boot := int $v.multinode.bootPort -}}
{{- if and (include "tamis.isLws" .) (or (has $boot $ports) (has (add1 $boot | int) $ports)) -}}
{{- fail (printf "multinode.bootPort is %d: it and the next port must not be server.grpcPort or server.metricsPort" $boot) -}}
{{- end -}}
{{- $m := $v.model -}}
{{- if and (eq $m.source "pvc") (not $m.pvc.existingClaim) -}}
{{- fail "model.pvc.existingClaim is empty: model.source pvc needs the claim that holds the weights" -}}
{{- end -}}
{{- if eq $m.source "hf" -}}
{{- if not $m.name -}}{{- fail "model.name is empty: model.source hf needs the repository, as owner/name" -}}{{- end -}}
{{- if not $m.download.image -}}
{{- fail "model.download.image is empty: model.source hf needs an image with sh, flock and Hugging Face's hf command" -}}
{{- end -}}
{{- if and (or (include "tamis.isLws" .) (gt (int $v.replicas) 1) $v.autoscaling.enabled) $m.pvc.size (not (has "ReadWriteMany" $m.pvc.accessModes)) -}}
{{- fail "model.pvc.accessModes lacks ReadWriteMany: several pods share the downloaded model" -}}
{{- end -}}
{{- end -}}
{{- if and (eq $m.source "oci") (not (contains "@sha256:" $m.oci.reference)) -}}
{{- fail (printf "model.oci.reference is '%s': it must end in @sha256: and a digest" $m.oci.reference) -}}
{{- end -}}
{{- if and (eq $m.source "hostPath") (not $m.hostPath) -}}{{- fail "model.hostPath is empty" -}}{{- end -}}
{{- if and (eq $m.source "none") (not $m.path) -}}
{{- fail "model.path is empty: model.source none needs a path in the image or in extraVolumes" -}}
{{- end -}}
{{- if and $v.tls.clientCa (not $v.tls.secretName) -}}
{{- fail "tls.clientCa needs tls.secretName" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (eq $v.autoscaling.engine "keda") (not $v.autoscaling.prometheusAddress) -}}
{{- fail "autoscaling.prometheusAddress is empty: KEDA asks Prometheus there" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and $v.grpcRoute.enabled (not $v.grpcRoute.parentRefs) -}}
{{- fail "grpcRoute.parentRefs is empty: name the gateway" -}}
{{- end -}}
{{- if gt (mul $v.probes.startup.periodSeconds $v.probes.startup.failureThreshold | int) 86400 -}}
{{- fail "probes.startup: periodSeconds x failureThreshold is above 86400 s, the most that --startup-timeout takes" -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" (include "tamis.fullname" .)) -}}
{{- fail (printf "the name '%s' of the release's objects is no DNS label that begins with a letter; set fullnameOverride" (include "tamis.fullname" .)) -}}
{{- end -}}
{{- if and $v.rdma.runAsRoot (not $v.rdma.enabled) -}}{{- fail "rdma.runAsRoot needs rdma.enabled" -}}{{- end -}}
{{- range $key := list "model" "host" "port" "metrics-port" "served-model-name" "max-model-len" "tensor-parallel-size" "shutdown-timeout" "startup-timeout" "device" "heartbeat-file" "insecure" "ssl-certfile" "ssl-keyfile" "ssl-ca-certs" -}}
{{- if hasKey $v.server.config $key -}}
{{- fail (printf "server.config.%s: the chart sets this flag from its own values" $key) -}}
{{- end -}}
{{- end -}}
{{- end }}
