/**
 * Properties of prod's resources that no policy looks at, because a change of them is neither unsafe nor dear: what to know before one
 * is added here is which of these reasons it has.
 */
export const NEITHER: Readonly<Record<string, readonly RegExp[]>> = {
  // Which name, id, address or text is right, no policy can know; AWS refuses what does not exist.
  "names and descriptions": [
    /^aws:\S+ (description|alarmDescription|tags|tags\.Name|name|path) /,
    /^aws:s3\/bucket:Bucket bucket /,
    /^aws:dlm\S+ policyDetails\.schedules\.\[\]\.(name|createRule\.times) /,
    /^aws:s3\S+ rules\.\[\]\.id /,
    /\.Sid \|/,
    /^launcher:index:OrgSecret name /,
    /^launcher:index:(Run|Volume) tags(\.\[\])? /,
    /^tls:\S+ (subject|subject\.commonName|setSubjectKeyId|ipAddresses|ipAddresses\.\[\]) /,
  ],
  // What belongs to what. That a part is missing where it is needed, is a policy's business.
  "wiring between resources": [
    /^aws:\S+ (vpcId|subnetId|gatewayId|routeTableId|routeTableIds|routeTableIds\.\[\]|allocationId|instanceId|volumeId|deviceName) /,
    /^aws:\S+ (networkInterfaceId|primaryNetworkInterface\.networkInterfaceId|securityGroupId|role|user|secretId) /,
    /^aws:ec2\/instance:Instance (iamInstanceProfile \| flipped|ami \|)/,
    /^aws:secretsmanager\/secretVersion:SecretVersion secretString /,
    /^command:local:Command (environment|environment\.TRACKER_(CA|URL)|triggers|triggers\.\[\]|create \| flipped)/,
    /^launcher:index:OrgSecret value /,
    /^tls:\S+ (privateKeyPem|caPrivateKeyPem|caCertPem) /,
  ],
  // Without it something does not work, or not as well; nothing is open, and nothing is paid for.
  availability: [
    /^aws:cloudwatch\/metricAlarm:MetricAlarm /,
    /^aws:ec2\/(vpcEndpoint|route|eip|subnet|vpc)\S+ (serviceName|vpcEndpointType|destinationCidrBlock|domain|cidrBlock|enableDnsHostnames) /,
    /^aws:(ec2\/subnet|ebs)\S+ availabilityZone /,
    /^aws:ec2\/volumeAttachment\S+ stopInstanceBeforeDetaching /,
    /^aws:ec2\/instance:Instance (userData \| removed|userDataReplaceOnChange)/,
    /^command:local:Command addPreviousOutputInEnv /,
    /^docker:index\/image:Image build\.(args|args\.LOCK_SHA256|args\.REVISION|context) /,
    /^random:\S+ special /,
    /^launcher:index:\w+ place\.(region|checkpoints) /,
  ],
  // Who has fewer permissions can do less.
  "permissions that are taken away": [
    /policy\.Statement\.\[\](\.Action\.\[\]|\.Resource\.\[\])? \| removed/,
    /policy\.Statement\.\[\]\.Condition\.StringLike\.s3:prefix\.\[\] \| removed/,
    /[pP]olicy\.Statement\.\[\]\.Effect /,
    /assumeRolePolicy\.Statement\.\[\]\.Principal(\.Service)? \| removed/,
    /[pP]olicy\.Version /,
    /^aws:vpc\S+EgressRule cidrIpv4 \| removed/,
    /^tls:\S+ allowedUses\.\[\] \| removed/,
  ],
  // False, or nothing, is what the provider takes.
  "safe where it is absent": [
    /^aws:s3\/bucket:Bucket forceDestroy \| removed/,
    /^launcher:index:Volume forceDelete \| removed/,
    /^aws:s3\S+ rules\.\[\]\.expiration(\.expiredObjectDeleteMarker)? /,
  ],
  // A run ends at its maxDuration whatever it trains; what it trains is the trainer's own schema to check.
  "what is trained, and on what": [
    /^launcher:index:Run trainerConfig/,
    /^launcher:index:Run (models|datasets)/,
    /^launcher:index:Run (needs \| removed|needs\.critic\.|pipeline|stack|resultsVersion|effectiveBatch|experiment|trackerUrl|waitSeconds)/,
    /^launcher:index:Run cloud\.(delivery|env|secrets( \||\.\w+ \| removed))/,
    /^launcher:index:Run volumes\.(models|datasets)\./,
    /^launcher:index:(Upload|Volume) (optional|source|storage|volumeName) /,
  ],
};
